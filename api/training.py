"""What a training may be asked for: its dataset usable, its splits there, its initial weights found."""

from sqlalchemy.orm import Session

from api import starting_points
from api.errors import Invalid
from api.schemas.common import ProblemError
from api.starting_points import Start
from detector.config import TrainConfig
from store import datasets
from store.errors import DatasetNotUsable
from store.tables import Dataset, DatasetStatus


def find(session: Session, project: str, dataset_id: str, config: TrainConfig) -> tuple[Dataset, Start]:
    """The dataset, and the config with all that its initial weights decide.

    Raises `DatasetNotFound`, `DatasetNotUsable`, `ModelNotFound`, `InitialWeightsUnfit`, `Invalid`.
    """
    dataset = datasets.get(session, project, dataset_id)
    start = starting_points.find(session, project, config)
    require_usable(dataset, config)
    return dataset, start


def require_usable(dataset: Dataset, config: TrainConfig, pointer: str = "/config") -> None:
    """Raises `DatasetNotUsable`, and `Invalid` for splits that are not there, or one in place of two.

    `pointer` leads to the config in the body.
    """
    if dataset.status is DatasetStatus.INVALID:
        raise DatasetNotUsable
    if dataset.summary is None:
        return
    splits = dataset.summary.get("splits", {})
    present = ", ".join(splits) or "none"
    errors: list[ProblemError] = []

    def refuse(field: str, code: str, detail: str) -> None:
        errors.append(ProblemError(pointer=f"{pointer}/{field}", code=code, detail=detail))

    if config.train_split not in splits:
        refuse(
            "train_split", "split_unknown", f"the dataset has no split {config.train_split!r}, only {present}"
        )
    measured = config.evaluation_split(splits)
    if measured not in splits:
        lacking = "neither 'val' nor 'test'" if config.eval_split == "auto" else f"no split {measured!r}"
        refuse("eval_split", "split_unknown", f"the dataset has {lacking} to measure on, only {present}")
    elif measured == config.train_split:
        refuse("eval_split", "splits_equal", f"{measured!r} would be learned from and measured on")
    if errors:
        raise Invalid("; ".join(f"{error.pointer}: {error.detail}" for error in errors), errors=errors)
