"""The space of a search: each of its ends put into the config and checked as a training's would be."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api import errors, training
from api.errors import Invalid
from api.schemas.common import ProblemError
from api.schemas.searches import SearchCreate
from api.starting_points import Start
from detector.config import TrainConfig
from detector.search.space import size, with_values
from store.tables import Dataset

# What a search may not change, and why.
_SAME = {
    "seed": "all trials have the same: another seed is noise, and its best value luck",
    "eval_split": "all trials are measured on the same images",
    "architecture.initial_weights.model": "trials start from what the config says",
    "architecture.initial_weights.sha256": "trials start from what the config says",
}


def start(session: Session, project: str, said: SearchCreate) -> Start:
    """What all trials begin with.

    Raises `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, `InitialWeightsUnfit`, and `Invalid` with
    pointers such as `/space/optimizer.lr/high`.
    """
    dataset, found = training.find(session, project, said.dataset_id, said.config)
    base = found.config.model_dump(mode="json")
    faults = [fault for name in said.space for fault in _faults(dataset, found, base, said, name)]
    combinations = size(said.space)
    if combinations is not None and combinations < said.max_trials:
        detail = f"the space has {combinations} combinations, and none is worth a second training"
        faults.append(ProblemError(pointer="/max_trials", code="space_too_small", detail=detail))
    if faults:
        raise Invalid(errors.summary(faults), errors=faults[:100])
    return found


def _faults(
    dataset: Dataset, found: Start, base: dict[str, Any], said: SearchCreate, name: str
) -> Iterator[ProblemError]:
    pointer = f"/space/{name}"
    reason = _SAME.get(name)
    if reason is None and found.model_id is not None and name.split(".")[0] == "architecture":
        reason = "trials that start from the weights of a model have its architecture"
    if reason is not None:
        yield ProblemError(pointer=pointer, code="not_searchable", detail=reason)
        return
    for place, value in said.space[name].ends().items():
        document = with_values(base, {name: value})
        try:
            config = TrainConfig.model_validate(document)
            training.require_usable(dataset, config)
        except ValidationError as error:
            (fault, *_) = errors.faults(error, document, "")
        except Invalid as error:
            (fault, *_) = error.errors
        else:
            continue
        if fault.code == "extra_forbidden":
            yield ProblemError(
                pointer=pointer, code="parameter_unknown", detail=f"no config has {name}: {fault.detail}"
            )
            return
        yield ProblemError(pointer=f"{pointer}/{place}", code=fault.code, detail=fault.detail)
