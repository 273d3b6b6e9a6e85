"""What a training would be, without making it: its steps, what it writes, what is to be said of its data."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from api.data_warnings import Data, warnings
from api.room import bytes_to_spare
from api.schemas.jobs import JobPlan
from api.schemas.plans import DiskView, MemoryView, PlanWarning, TimeView
from api.services import Services
from api.settings import Settings
from api.starting_points import Start
from detector.config import WITH_MASKS, TrainConfig
from detector.footprint import CHECKPOINTS_KEPT, footprint
from store import checkpoints, datasets, paces
from store.tables import Dataset, JobKind

_BLOCK = 4096  # a file takes whole ones
# One beside those kept is being written, and one is what a lost attempt is gone on from.
_CHECKPOINTS_OF_WORKER = CHECKPOINTS_KEPT + 2
# The last ones, the best one, and one that has just come.
_CHECKPOINTS_OF_STORE = checkpoints.KEPT + 2
# The worker's finished ones are links to the store's.
_CHECKPOINTS_OF_ONE_DISK = _CHECKPOINTS_OF_STORE + 2
_TIMED = 5  # earlier trainings that say how long one takes


def plan(services: Services, dataset: Dataset, start: Start) -> JobPlan:
    """What is known before it begins. Of a dataset that is still validating that is its config only."""
    config = start.config
    found = JobPlan(
        kind=JobKind.TRAIN,
        dataset_id=dataset.id,
        dataset_status=dataset.status,
        resolved_config=config.model_dump(mode="json"),
        steps_per_epoch=None,
        steps=None,
        warnings=None,
        disk=None,
        memory=None,
        time=None,
    )
    if dataset.summary is None or dataset.index is None:
        return found
    steps_per_epoch = _steps_per_epoch(dataset, config)
    with services.database.read() as session:
        findings = datasets.findings_by_action(session, dataset.id)
    catalogue = services.catalogues.get(dataset.index)
    data = Data(dataset.id, dataset.summary, catalogue, findings)
    disk = _disk(services, dataset, data, config)
    said = warnings(data, start)
    if not disk.has_room:
        said.append(_storage_low(disk, services.settings))
    return found.model_copy(
        update={
            "steps_per_epoch": steps_per_epoch,
            "steps": steps_per_epoch * config.epochs,
            "warnings": said,
            "disk": disk,
            "memory": _memory(data, config),
            "time": _time(services, dataset.project_id, config, steps_per_epoch * config.epochs),
        }
    )


def _steps_per_epoch(dataset: Dataset, config: TrainConfig) -> int:
    summary = dataset.summary or {}
    images = cast(int, summary["splits"][config.train_split]["images"])
    return max(1, images // config.batch_size)  # whole batches only


def _disk(services: Services, dataset: Dataset, data: Data, config: TrainConfig) -> DiskView:
    classes = len(data.catalogue.categories)
    size = footprint(config.architecture, classes)
    checkpoint = size.checkpoint_bytes(config.optimizer)
    index = services.blobs.size(str(dataset.index))
    split = config.evaluation_split(data.summary["splits"])
    images = data.images(split)
    widths = data.catalogue.sizes[data.catalogue.of_split(split), 0]
    mask_width = float(widths.mean()) if config.architecture.kind in WITH_MASKS and len(widths) else None
    # `ground_truth.json` is, of the images that are measured on, as large as the index.
    truth = index * images // max(1, len(data.catalogue.image_ids))
    artifacts = size.model_bytes + size.evaluation_bytes(images, classes, mask_width=mask_width) + truth
    unpacked = _blocks(index) + _image_bytes(services, dataset)
    worker = unpacked + _CHECKPOINTS_OF_WORKER * checkpoint + artifacts
    store = _CHECKPOINTS_OF_STORE * checkpoint + artifacts
    settings = services.settings
    one_disk = settings.embedded and _same_disk(settings.data, settings.blobs_folder)
    together = unpacked + _CHECKPOINTS_OF_ONE_DISK * checkpoint + artifacts
    if one_disk:
        written = together
    else:
        written = max(worker, store) if settings.embedded else store
    free = bytes_to_spare(settings)
    return DiskView(
        dataset_bytes=unpacked,
        checkpoint_bytes=checkpoint,
        artifacts_bytes=artifacts,
        worker_bytes=worker,
        store_bytes=store,
        total_bytes=together if one_disk else worker + store,
        free_bytes=free,
        has_room=written <= free,
    )


def _memory(data: Data, config: TrainConfig) -> MemoryView:
    size = footprint(config.architecture, len(data.catalogue.categories))
    widths, heights = data.catalogue.sizes[data.catalogue.of_split(config.train_split)].T.astype(np.int64)
    # Each process that loads meets every image sooner or later.
    decoded = 3 * int((widths * heights).sum()) * max(1, config.num_workers)
    return MemoryView(
        state_bytes=size.state_bytes(config.optimizer),
        images_bytes=min(config.image_cache_mib << 20, decoded),
    )


def _time(services: Services, project_id: str, config: TrainConfig, steps: int) -> TimeView | None:
    wanted = _what_takes_time(config.model_dump(mode="json"))
    with services.database.read() as session:
        alike = (one for one in paces.finished(session, project_id) if _what_takes_time(one.config) == wanted)
        timed = paces.paces(session, list(islice(alike, _TIMED)))
    if not timed:
        return None
    step = median(one.step_seconds for one in timed)
    return TimeView(
        seconds=round(steps * step + median(one.other_seconds for one in timed), 1),
        step_seconds=round(step, 4),
        trainings=[one.job_id for one in timed],
    )


def _what_takes_time(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides what a step takes; of older versions what they had of it."""
    found = {name: config.get(name) for name in ("batch_size", "gradient_accumulation", "amp", "device")}
    architecture = config.get("architecture")
    if isinstance(architecture, dict):
        architecture = {name: one for name, one in architecture.items() if name != "initial_weights"}
    return found | {"architecture": architecture}


def _image_bytes(services: Services, dataset: Dataset) -> int:
    """Of the images unpacked, as the archive declares them."""
    with services.database.read() as session:
        names = datasets.file_names(session, dataset.id)
    archive = services.archives.get(dataset.archive)
    return sum(_blocks(archive.size(name)) for name in names)


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _same_disk(data: Path, blobs: Path | None) -> bool:
    return blobs is not None and data.stat().st_dev == blobs.stat().st_dev


def _storage_low(disk: DiskView, settings: Settings) -> PlanWarning:
    needed = disk.total_bytes if settings.embedded else disk.store_bytes
    return PlanWarning(
        code="storage_low",
        detail=f"The training may write {needed / 1e6:,.0f} MB where the service keeps its data, and "
        f"{disk.free_bytes / 1e6:,.0f} MB are free there beside the {settings.min_free_bytes / 1e6:,.0f} MB "
        "that have to stay (HARMONICDET_MIN_FREE_BYTES). Delete models and datasets that are not needed, or "
        "make room.",
        pointer=None,
    )
