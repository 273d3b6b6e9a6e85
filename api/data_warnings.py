"""What of a dataset may disappoint the training that is asked for, as sentences with numbers.

Every one says what is so, counted from the report and the index of the dataset, and what to do about it. What
the trainer will refuse anyway is said here before it waits in a queue.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.schemas.plans import PlanWarning
from api.starting_points import Start
from detector.config import SSD300, WITH_MASKS, Architecture, ModelWeights, SSDLite320, TrainConfig
from detector.data.catalogue import Catalogue
from detector.data.columns import CROWD, MASKED
from detector.footprint import footprint
from detector.input_sizes import input_spec
from detector.origins import DetectorOrigin, fitting_part

FEW_BOXES = 10  # of a class, to learn from
FEW_IMAGES = 20  # to measure on
MANY_LEFT_OUT = 0.25  # of an epoch's images, for they make no whole batch
MANY_NEGATIVES = 0.1  # of the images to learn from
MATCHED = 0.5  # IoU with an object from which an anchor learns it, of all detectors that have anchors
_NAMED = 5
_ARCHITECTURE = "/config/architecture"


@dataclass(frozen=True)
class Data:
    """What is known of a dataset that is ready.

    Args:
        findings: how many by what was done about them and by code.
    """

    dataset_id: str
    summary: Mapping[str, Any]
    catalogue: Catalogue
    findings: Mapping[str, Mapping[str, int]]

    def images(self, split: str) -> int:
        return int(self.summary["splits"].get(split, {}).get("images", 0))


def warnings(data: Data, start: Start) -> list[PlanWarning]:
    """All that is worth saying; none is no promise."""
    return [
        *_of_validation(data),
        *_of_splits(data, start.config),
        *_of_batches(data, start.config),
        *_of_objects(data, start.config),
        *_of_evaluation(data, start.config),
        *_of_initial_weights(data, start),
    ]


def _of_validation(data: Data) -> Iterator[PlanWarning]:
    summary, report = data.summary, f"GET /v1/datasets/{data.dataset_id}/report names each."
    dropped, fixed = data.findings.get("dropped", {}), data.findings.get("fixed", {})
    if summary["dropped"] or dropped:
        yield _warning(
            "data_left_out",
            f"{summary['dropped']:,} of {summary['annotations']:,} annotations were left out by the "
            f"validation{_reasons(dropped)}. {report}",
        )
    if summary["fixed"] or fixed:
        yield _warning(
            "data_put_right",
            f"{summary['fixed']:,} of {summary['used']:,} annotations were put right by the "
            f"validation{_reasons(fixed)}. {report}",
        )
    found = summary.get("findings", {})
    if twice := found.get("image_in_two_splits", 0):
        yield _warning(
            "images_in_two_splits",
            f"{_many(twice, 'image is', 'images are')} in two splits: where one of them is learned from and "
            f"the other measured, AP promises too much. Take {_many(twice, 'it', 'them', number=False)} out "
            f"of one. {report}",
        )
    if other := found.get("size_differs", 0):
        yield _warning(
            "image_sizes_differ",
            f"{_many(other, 'image has', 'images have')} another size than the annotations declare, so that "
            f"boxes may lie beside their objects. See GET /v1/datasets/{data.dataset_id}/images?findings=true"
            " and the previews.",
        )


def _of_splits(data: Data, config: TrainConfig) -> Iterator[PlanWarning]:
    present = data.summary["splits"]
    name = config.evaluation_split(present)
    if config.eval_split == "auto" and name == "test":
        images = _many(data.images(name), "image", "images")
        yield _warning(
            "eval_split_is_test",
            f"The dataset has no 'val', so 'test' ({images}) decides which weights are kept, and "
            "AP on it is no independent measure. Divide 'train', or measure on other images.",
            "/config/eval_split",
        )


def _of_batches(data: Data, config: TrainConfig) -> Iterator[PlanWarning]:
    images, size = data.images(config.train_split), config.batch_size
    pointer = "/config/batch_size"
    if images < size:
        yield _warning(
            "batch_larger_than_split",
            f"batch_size is {size:,}, but {config.train_split!r} has {_many(images, 'image', 'images')}: "
            f"every epoch is one step with {'it' if images == 1 else 'all of them'}, at the learning rate of "
            f"a full batch. Set batch_size to {images} or less.",
            pointer,
        )
    elif (left := images % size) >= MANY_LEFT_OUT * images:
        steps = images // size
        yield _warning(
            "images_left_out_of_epochs",
            f"An epoch is {_many(steps, 'whole batch', 'whole batches')} of {size:,}: {left:,} of {images:,} "
            f"images are left out of it, others in every epoch. A batch_size of {images // (steps + 1)} "
            "would take nearly all.",
            pointer,
        )


def _of_objects(data: Data, config: TrainConfig) -> Iterator[PlanWarning]:
    """What there is to learn from."""
    found, split, kind = data.catalogue, config.train_split, config.architecture.kind
    of_split = found.of_split(split)
    objects = of_split[found.image_of] & found.learnable
    count = int(objects.sum())
    if not count:
        yield _warning(
            "nothing_to_learn",
            f"The training would fail: no image of {split!r} has a box to learn from. Upload the dataset "
            "with boxes, or set train_split to another split.",
            "/config/train_split",
        )
        return
    per_class = np.bincount(found.classes[objects], minlength=len(found.categories))
    yield from _of_classes(data, split, per_class)
    without = int(of_split.sum()) - len(np.unique(found.image_of[objects]))
    if without >= MANY_NEGATIVES * of_split.sum():
        yield _warning(
            "images_without_boxes",
            f"{without:,} of {int(of_split.sum()):,} images of {split!r} have no box to learn from: all "
            "that they show is learned as background. Annotate them or take them out if they show objects.",
        )
    if kind in WITH_MASKS:
        yield from _of_masks(found, objects, kind)
    yield from _of_small_boxes(found, objects, config)


def _of_classes(data: Data, split: str, per_class: NDArray[np.int64]) -> Iterator[PlanWarning]:
    categories = data.catalogue.categories
    never = [one.name for one, boxes in zip(categories, per_class, strict=True) if not boxes]
    seldom = [
        f"{one.name} {boxes}"
        for one, boxes in zip(categories, per_class, strict=True)
        if 0 < boxes < FEW_BOXES
    ]
    if never:
        yield _warning(
            "classes_without_boxes",
            f"{_share(never, categories)} no box in {split!r} ({_named(never)}) and will never be found. Add "
            "images that show them, or leave them out of the dataset.",
        )
    if seldom:
        yield _warning(
            "classes_with_few_boxes",
            f"{_share(seldom, categories)} fewer than {FEW_BOXES} boxes in {split!r} ({_named(seldom)}) and "
            "will hardly be found. Add images that show them.",
        )


def _of_masks(found: Catalogue, objects: NDArray[np.bool_], kind: str) -> Iterator[PlanWarning]:
    masked = int((found.flags[objects] & MASKED > 0).sum())
    count = int(objects.sum())
    if not masked:
        yield _warning(
            "masks_missing",
            f"The training would fail: {kind} learns masks, and none of {count:,} objects to learn from has "
            "one. Upload polygons or run lengths, or choose an architecture of boxes.",
            _ARCHITECTURE,
        )
    elif masked < count:
        yield _warning(
            "masks_incomplete",
            f"{count - masked:,} of {count:,} objects to learn from have no mask: only their boxes are "
            "learned.",
            _ARCHITECTURE,
        )


def _of_small_boxes(
    found: Catalogue, objects: NDArray[np.bool_], config: TrainConfig
) -> Iterator[PlanWarning]:
    architecture = config.architecture
    seen = footprint(architecture, len(found.categories))
    stride = seen.finest_stride
    shown = (found.boxes[objects, 2:] - found.boxes[objects, :2]) * _scales(found, config)[
        found.image_of[objects]
    ]
    small, count = int((shown.max(axis=1) < stride).sum()), len(shown)
    if 2 * small <= count:
        if seen.smallest_anchor is not None:
            yield from _of_anchors(found, found.classes[objects], shown, seen.smallest_anchor, architecture)
        return
    remedy = (
        "Raise image_size, cut the images into tiles,"
        if hasattr(architecture, "image_size")
        else "Cut the images into tiles,"
    )
    yield _warning(
        "boxes_too_small",
        f"{small:,} of {count:,} boxes to learn from are less than {stride} pixels wide and high once their "
        f"images are resized, and {architecture.kind} looks at one place for every {stride} pixels. {remedy} "
        "or choose an architecture with a finer map.",
        f"{_ARCHITECTURE}/image_size" if hasattr(architecture, "image_size") else _ARCHITECTURE,
    )


def _of_anchors(
    found: Catalogue,
    classes: NDArray[np.integer[Any]],
    shown: NDArray[np.float64],
    anchor: float,
    architecture: Architecture,
) -> Iterator[PlanWarning]:
    """Classes whose boxes no anchor can overlap enough, even around them.

    Args:
        classes: (N,) of the boxes.
        shown: (N, 2) their widths and heights in the resized images.
        anchor: side of the smallest one.
    """
    small = shown.prod(axis=1) < MATCHED * anchor**2
    all_boxes = np.bincount(classes, minlength=len(found.categories))
    small_boxes = np.bincount(classes[small], minlength=len(found.categories))
    mostly = [
        f"{one.name} {few:,} of {count:,}"
        for one, few, count in zip(found.categories, small_boxes, all_boxes, strict=True)
        if 2 * few > count
    ]
    if not mostly:
        return
    # Of an SSD the anchors grow with the image, so that a larger one is no help.
    grows = isinstance(architecture, SSDLite320 | SSD300)
    remedy = "Cut the images into tiles" if grows else "Raise image_size, cut the images into tiles"
    yield _warning(
        "classes_smaller_than_anchors",
        f"{_share(mostly, found.categories)} mostly boxes ({_named(mostly)}) of less than half the area of "
        f"the smallest anchor of {architecture.kind}, {anchor:.0f} x {anchor:.0f} pixels of the resized "
        f"image: no anchor has an IoU of {MATCHED} with them, so they are hardly learned. {remedy}, or "
        "choose an architecture with smaller anchors, with points (fcos), or of two stages (fasterrcnn).",
        _ARCHITECTURE if grows else f"{_ARCHITECTURE}/image_size",
    )


def _scales(found: Catalogue, config: TrainConfig) -> NDArray[np.float64]:
    """(N, 2) by how much the width and the height of each image change."""
    spec = input_spec(config.architecture)
    sizes, which = np.unique(found.sizes, axis=0, return_inverse=True)
    shapes = np.array([spec.shape_for(height, width)[::-1] for width, height in sizes.tolist()], float)
    scales: NDArray[np.float64] = (shapes.reshape(-1, 2) / sizes)[which.ravel()]
    return scales


def _of_evaluation(data: Data, config: TrainConfig) -> Iterator[PlanWarning]:
    """What there is to measure on. The route has refused what is no split, or is the one learned from."""
    found = data.catalogue
    split = config.evaluation_split(data.summary["splits"])
    counted = found.flags & CROWD == 0
    measured = _boxes_of(found, split, counted)
    if not measured.any():
        yield _warning(
            "nothing_to_measure",
            f"No image of {split!r} has a box: AP will be null, and nothing tells the best weights from the "
            "last. Measure on another split.",
            "/config/eval_split",
        )
        return
    learned = _boxes_of(found, config.train_split, found.learnable)
    unmeasured = [
        one.name
        for one, here, there in zip(found.categories, measured, learned, strict=True)
        if there and not here
    ]
    if unmeasured:
        yield _warning(
            "classes_not_measured",
            f"{_share(unmeasured, found.categories)} no box in {split!r} ({_named(unmeasured)}): their AP "
            "will be null, and the mean is over the others. Add images that show them.",
        )
    if (images := data.images(split)) < FEW_IMAGES:
        boxes = _many(int(measured.sum()), "box", "boxes")
        yield _warning(
            "few_images_to_measure",
            f"{split!r} has {_many(images, 'image', 'images')} and {boxes}: AP will go up and down "
            "by chance, and the best weights with it. Measure on more images.",
            "/config/eval_split",
        )


def _boxes_of(found: Catalogue, split: str, which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(C,) boxes of each category in a split."""
    chosen = which & found.of_split(split)[found.image_of]
    return np.bincount(found.classes[chosen], minlength=len(found.categories))


def _of_initial_weights(data: Data, start: Start) -> Iterator[PlanWarning]:
    """Where another detector is gone on from: what of it cannot be kept."""
    architecture, origin = start.config.architecture, start.origin
    pointer = f"{_ARCHITECTURE}/initial_weights"
    if not isinstance(origin, DetectorOrigin) or not isinstance(architecture.initial_weights, ModelWeights):
        return
    if fitting_part(architecture, origin) == "backbone":
        yield _warning(
            "only_backbone_kept",
            f"{start.model_id} is a {origin.architecture.kind}: only its backbone is kept, and the rest of "
            f"{architecture.kind} starts random. Train a {origin.architecture.kind} to keep all.",
            pointer,
        )
        return
    categories = data.catalogue.categories
    new = [one.name for one in categories if one.name not in origin.classes]
    if new and origin.classes:
        kept = len(categories) - len(new)
        yield _warning(
            "classes_new_to_model",
            f"{_share(new, categories)} no part in {start.model_id} ({_named(new)}) and "
            f"{'starts' if len(new) == 1 else 'start'} random; {kept:,} of its {len(origin.classes):,} "
            "classes are kept. Classes are the same only where their names are, letter by letter.",
            pointer,
        )


def _warning(code: str, detail: str, pointer: str | None = None) -> PlanWarning:
    return PlanWarning(code=code, detail=detail, pointer=pointer)


def _many(count: int, one: str, many: str, *, number: bool = True) -> str:
    word = one if count == 1 else many
    return f"{count:,} {word}" if number else word


def _share(names: Sequence[str], categories: Sequence[object]) -> str:
    of_all = f"{len(names):,} of {_many(len(categories), 'class', 'classes')}"
    return f"{of_all} {'has' if len(names) == 1 else 'have'}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _reasons(codes: Mapping[str, int]) -> str:
    """The most frequent ones first."""
    ranked = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
    return f" ({_named([f'{code} {count:,}' for code, count in ranked])})" if ranked else ""
