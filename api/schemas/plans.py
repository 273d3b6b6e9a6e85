"""What a plan says beside its steps."""

from typing import Any

from api.schemas.common import Example, Shape

WARNINGS_EXAMPLE: Any = [
    {
        "code": "classes_with_few_boxes",
        "detail": "1 of 3 classes has fewer than 10 boxes in 'train' (Platelets 6) and will hardly be "
        "found. Add images that show them.",
        "pointer": None,
    }
]
DISK_EXAMPLE: Example = {
    "dataset_bytes": 7843840,
    "checkpoint_bytes": 37138064,
    "artifacts_bytes": 24951648,
    "worker_bytes": 181347744,
    "store_bytes": 173503904,
    "total_bytes": 255623872,
    "free_bytes": 81203040256,
    "has_room": True,
}


MEMORY_EXAMPLE: Example = {"state_bytes": 29736432, "images_bytes": 268697600}
TIME_EXAMPLE: Example = {
    "seconds": 151.2,
    "step_seconds": 0.452,
    "trainings": ["job_01jz4m9a6hcy0p3t1w5x7z9b2d"],
}


class PlanWarning(Shape):
    """Why the training may disappoint, or fail."""

    code: str
    """Stable name of what was seen, such as `classes_without_boxes`, `boxes_too_small`, `storage_low`."""
    detail: str
    """A sentence with the numbers, and what to do."""
    pointer: str | None
    """The part of the request that it is about; null when it is the data themselves."""


class DiskView(Shape):
    """Bytes that a training takes at most, beside the archive of its dataset."""

    dataset_bytes: int
    """The dataset unpacked on the worker, unless it is there already."""
    checkpoint_bytes: int
    """One checkpoint: weights, their average, the best ones so far, and the optimiser's state."""
    artifacts_bytes: int
    """The model's files and what its evaluation has found."""
    worker_bytes: int
    """On the worker's disk: dataset, checkpoints, artifacts."""
    store_bytes: int
    """In the store: checkpoints, artifacts."""
    total_bytes: int
    """Of both; on one disk a file that both have is there once."""
    free_bytes: int
    """Room on the disk of this service's data, beside what always stays free there."""
    has_room: bool
    """Whether what is written there fits: the total where the workers run on this host, else the store's."""


class MemoryView(Shape):
    """Bytes of memory that a training holds at most. What computing a batch takes comes on top: it depends on
    the device and the number format and is known once it is tried. A batch that does not fit is computed in
    parts."""

    state_bytes: int
    """On the device, whatever the batch: weights, their average, gradients and the optimiser's state."""
    images_bytes: int
    """On the host: decoded images that are kept for the next epochs (`image_cache_mib`)."""


class TimeView(Shape):
    """How long a training would take, by the pace of earlier ones like it."""

    seconds: float
    """From when a worker begins with it until its model is there, evaluations and export included."""
    step_seconds: float
    """A step with its share of evaluations and checkpoints."""
    trainings: list[str]
    """Ids of the jobs that say so, the newest first: the same detector, image and batch size, precision and
    device. `seconds` is a median."""
