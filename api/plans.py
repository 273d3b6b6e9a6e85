"""What a training would be, without making it: its steps."""

from typing import cast

from api.schemas.jobs import JobPlan
from api.services import Services
from api.starting_points import Start
from detector.config import TrainConfig
from store.tables import Dataset, JobKind


def plan(services: Services, dataset: Dataset, start: Start) -> JobPlan:
    """What is known before it begins, of a dataset that is ready or still validating."""
    steps_per_epoch = None
    if dataset.summary is not None:
        steps_per_epoch = _steps_per_epoch(dataset, start.config)
    return JobPlan(
        kind=JobKind.TRAIN,
        dataset_id=dataset.id,
        dataset_status=dataset.status,
        resolved_config=start.config.model_dump(mode="json"),
        steps_per_epoch=steps_per_epoch,
        steps=None if steps_per_epoch is None else steps_per_epoch * start.config.epochs,
    )


def _steps_per_epoch(dataset: Dataset, config: TrainConfig) -> int:
    summary = dataset.summary or {}
    images = cast(int, summary["splits"][config.train_split]["images"])
    return max(1, images // config.batch_size)  # whole batches only
