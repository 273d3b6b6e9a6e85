"""The arms of a comparison: each a base config with what it changes, resolved and checked as a training's."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api import errors, starting_points, training
from api.errors import Invalid
from api.schemas.common import ProblemError
from api.schemas.comparisons import ComparisonCreate
from detector.config import ARCHITECTURES, TrainConfig
from store import datasets
from store.comparisons import NewArm
from store.tables import Dataset


def arms(session: Session, project: str, said: ComparisonCreate) -> list[NewArm]:
    """What is to be trained for each arm, before any seed.

    Raises `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, `InitialWeightsUnfit`, and `Invalid` with
    pointers such as `/arms/1/config/loss/kind`.
    """
    dataset = datasets.get(session, project, said.dataset_id)
    _require_names(said)
    training.require_usable(dataset, said.config)
    base = said.config.model_dump(mode="json", exclude_unset=True)
    configs = [_config(base, arm.config, f"/arms/{place}/config") for place, arm in enumerate(said.arms)]
    found = []
    for place, (arm, config) in enumerate(zip(said.arms, configs, strict=True)):
        pointer = f"/arms/{place}/config"
        training.require_usable(dataset, config, pointer)
        _require_same_images(dataset, configs[0], config, pointer)
        start = starting_points.find(session, project, config, pointer)
        found.append(
            NewArm(
                name=arm.name,
                config=arm.config,
                whole_config=config.model_dump(mode="json", exclude_unset=True),
                resolved_config=start.config.model_dump(mode="json"),
                initial_model_id=start.model_id,
            )
        )
    return found


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the changes, as RFC 7396 (JSON Merge Patch) says: objects field by field, null for the
    default, everything else as a whole. Beyond it, an object that names another `kind` replaces the one that
    was there, whose options are none of its own."""
    found = dict(base)
    for name, value in changes.items():
        before = found.get(name)
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            is_other = isinstance(before, dict) and value.get("kind", before.get("kind")) != before.get(
                "kind"
            )
            found[name] = merged(before if isinstance(before, dict) and not is_other else {}, value)
        else:
            found[name] = value
    return found


def _config(base: dict[str, Any], changes: dict[str, Any], pointer: str) -> TrainConfig:
    document = _with_kinds(merged(base, changes))
    try:
        return TrainConfig.model_validate(document)
    except ValidationError as error:
        faults = errors.faults(error, document, pointer)
        raise Invalid(errors.summary(faults), errors=faults[:100]) from error


def _with_kinds(document: dict[str, Any]) -> dict[str, Any]:
    """An arm may change options of a choice that was left out; they are of the kind that is usual with its
    architecture."""
    said = document.get("architecture")
    name = said.get("kind") if isinstance(said, dict) else said
    known = isinstance(name, str) and name in ARCHITECTURES
    usual = TrainConfig.model_validate({"architecture": name} if known else {})
    kinds = {field: getattr(value, "kind", None) for field, value in usual}
    return {
        field: {"kind": kinds[field]} | value if isinstance(value, dict) and kinds.get(field) else value
        for field, value in document.items()
    }


def _require_names(said: ComparisonCreate) -> None:
    faults = []
    names = [arm.name for arm in said.arms]
    for place, name in enumerate(names):
        if name in names[:place]:
            detail = f"there is an arm {name!r} already"
            faults.append(ProblemError(pointer=f"/arms/{place}/name", code="duplicate", detail=detail))
    if said.baseline is not None and said.baseline not in names:
        detail = "must be the name of an arm"
        faults.append(ProblemError(pointer="/baseline", code="arm_unknown", detail=detail))
    given = {"/config": said.config.model_fields_set}
    given |= {f"/arms/{place}/config": set(arm.config) for place, arm in enumerate(said.arms)}
    detail = "the seeds of a comparison are in `seeds`: every arm is trained with each of them"
    faults += [
        ProblemError(pointer=f"{pointer}/seed", code="seed_given", detail=detail)
        for pointer, fields in given.items()
        if "seed" in fields
    ]
    if faults:
        raise Invalid(errors.summary(faults), errors=faults)


def _require_same_images(dataset: Dataset, first: TrainConfig, config: TrainConfig, pointer: str) -> None:
    """Raises `Invalid` for an arm that is measured on other images than the first one."""
    splits = (dataset.summary or {}).get("splits")
    if splits is None:
        theirs, its = first.eval_split, config.eval_split
    else:
        theirs, its = first.evaluation_split(splits), config.evaluation_split(splits)
    if theirs != its:
        detail = f"every arm is measured on the same images: this one on {its!r}, the first on {theirs!r}"
        raise errors.invalid(f"{pointer}/eval_split", "splits_differ", detail)
