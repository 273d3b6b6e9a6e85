"""Objects and detections as columns: what is compared, and nothing of Python's per detection."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as masks

IouType: TypeAlias = Literal["bbox", "segm"]
Rows: TypeAlias = Sequence[Mapping[str, Any]]
Regions: TypeAlias = "NDArray[np.float64] | list[dict[str, Any]]"
"""Boxes (N, 4) xywh, or N masks as pycocotools' compressed run lengths."""

_MOST_MASKS = 255 // 4


@dataclass(frozen=True)
class Detections:
    """COCO results in columns, in any order. `regions` decides whether boxes or masks are compared."""

    image_ids: NDArray[np.int64]  # (N,)
    category_ids: NDArray[np.int64]  # (N,)
    regions: Regions
    scores: NDArray[np.float64]  # (N,)
    areas: NDArray[np.float64]  # (N,), of the regions; NaN belongs to every range of areas

    @classmethod
    def of_boxes(
        cls,
        image_ids: NDArray[np.int64],
        category_ids: NDArray[np.int64],
        boxes: NDArray[np.float64],
        scores: NDArray[np.float64],
    ) -> "Detections":
        """Boxes (N, 4) xywh."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        return cls(
            np.asarray(image_ids, np.int64),
            np.asarray(category_ids, np.int64),
            boxes,
            np.asarray(scores, np.float64),
            boxes[:, 2] * boxes[:, 3],
        )


@dataclass(frozen=True)
class Objects:
    """The annotations of a COCO dataset in columns, in any order. A crowd is matched again and again."""

    image_ids: NDArray[np.int64]  # (G,)
    category_ids: NDArray[np.int64]  # (G,)
    regions: Regions
    areas: NDArray[np.float64]  # (G,)
    crowds: NDArray[np.bool_]  # (G,)


@dataclass(frozen=True)
class Problem:
    """Detections to be compared with objects. What is of no known image or category does not take part."""

    image_ids: NDArray[np.int64]  # (I,), ascending
    category_ids: NDArray[np.int64]  # (K,), ascending
    objects: Objects
    detections: Detections

    def with_areas(self, objects: NDArray[np.float64], detections: NDArray[np.float64] | None) -> "Problem":
        """The same with another property of each object and detection in the place of its area; without one
        of detections each belongs to every range."""
        every = np.full(len(self.detections.scores), np.nan)
        return replace(
            self,
            objects=replace(self.objects, areas=objects),
            detections=replace(self.detections, areas=every if detections is None else detections),
        )


def problem(
    ground_truth: Mapping[str, Any], detections: "Rows | Detections", iou_type: IouType = "bbox"
) -> Problem:
    """A COCO dataset and COCO results (or columns of this `iou_type`) as columns, in their order.

    By masks an object without one is its box, of an area below all ranges, so ignored. Raises ValueError for
    a detection on an image that the dataset lacks, or without the region to compare.
    """
    images = ground_truth["images"]
    if not isinstance(detections, Detections):
        detections = detections_of(detections, iou_type)
    elif isinstance(detections.regions, list) != (iou_type == "segm"):
        raise ValueError(f"these detections have no {iou_type} to compare")
    known = np.unique(_integers(images, "id"))
    unknown = np.flatnonzero(~np.isin(detections.image_ids, known))
    if len(unknown):
        image = detections.image_ids[unknown[0]]
        raise ValueError(f"detection on image {image}, which the ground truth lacks")
    return Problem(
        known,
        np.unique(_integers(ground_truth["categories"], "id")),
        objects_of(ground_truth["annotations"], images, iou_type),
        detections,
    )


def objects_of(annotations: Rows, images: Rows, iou_type: IouType) -> Objects:
    """COCO annotations in columns."""
    boxes = _boxes(annotations, itemgetter("bbox"))
    areas = _floats(annotations, itemgetter("area"))
    regions: Regions = boxes
    if iou_type == "segm":
        sizes: dict[int, tuple[Any, Any]] = {
            one["id"]: (one.get("height"), one.get("width")) for one in images
        }
        masked = [bool(one.get("segmentation")) for one in annotations]
        regions = [
            run_lengths_of(one["segmentation"], *sizes[one["image_id"]])
            if has
            else _outline(one["bbox"], *sizes[one["image_id"]])
            for one, has in zip(annotations, masked, strict=True)
        ]
        areas[~np.array(masked, bool)] = -1.0
    return Objects(
        _integers(annotations, "image_id"),
        _integers(annotations, "category_id"),
        regions,
        areas,
        np.array([one.get("iscrowd", 0) for one in annotations], bool),
    )


def detections_of(results: Rows, iou_type: IouType = "bbox") -> Detections:
    """COCO results in columns. Raises ValueError where the region to compare is missing.

    Where a result has both box and mask, pycocotools' loadRes would measure the mask's size by its box; here
    it is the mask's own, as detectron2 does by leaving the box out.
    """
    images, categories = _integers(results, "image_id"), _integers(results, "category_id")
    scores = _floats(results, itemgetter("score"))
    if iou_type == "bbox":
        return Detections.of_boxes(images, categories, _boxes(results, _box), scores)
    regions = [compressed(_given(one, "segmentation", "segm")) for one in results]
    areas = np.concatenate([np.zeros(0), *_in_parts(masks.area, regions)])
    return Detections(images, categories, regions, scores, areas)


def _in_parts(
    measure: Callable[[list[dict[str, Any]]], NDArray[Any]], regions: list[dict[str, Any]]
) -> Iterator[NDArray[Any]]:
    """What pycocotools measures of masks: of more at once its count, four times over, does not fit a byte."""
    for start in range(0, len(regions), _MOST_MASKS):
        yield measure(regions[start : start + _MOST_MASKS])


def compressed(rle: Mapping[str, Any]) -> dict[str, Any]:
    """COCO run lengths, given as a list or as a string, in pycocotools' form."""
    if isinstance(rle["counts"], list):
        height, width = rle["size"]
        return dict(masks.frPyObjects(dict(rle), height, width))
    return dict(rle)


def run_lengths_of(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """A COCO segmentation, polygons or run lengths, on an image of this size, in pycocotools' form."""
    if isinstance(segmentation, list):
        return dict(masks.merge(masks.frPyObjects(segmentation, height, width)))
    return compressed(segmentation)


def boxes_of(regions: Regions) -> NDArray[np.float64]:
    """The boxes (N, 4) xywh around regions."""
    if isinstance(regions, list):
        return np.concatenate([np.zeros((0, 4)), *_in_parts(masks.toBbox, regions)])
    return regions


def box_of_mask(rle: Mapping[str, Any]) -> list[float]:
    """The box xywh around COCO run lengths."""
    box: list[float] = masks.toBbox(compressed(rle)).tolist()
    return box


def _box(result: Mapping[str, Any]) -> Sequence[float]:
    box: Sequence[float] | None = result.get("bbox")
    return box or box_of_mask(_given(result, "segmentation", "bbox"))


def _given(result: Mapping[str, Any], key: str, wanted: IouType) -> Any:
    if not result.get(key):
        raise ValueError(f"detection on image {result['image_id']} has no {wanted} to compare")
    return result[key]


def _outline(box: Sequence[float], height: Any, width: Any) -> dict[str, Any]:
    """A box as a mask. On an image of unknown size, where no mask is to be compared, it is one pixel."""
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        height = width = 1
    x, y, w, h = box
    return run_lengths_of([[x, y, x + w, y, x + w, y + h, x, y + h]], height, width)


def _integers(rows: Rows, key: str) -> NDArray[np.int64]:
    return np.fromiter(map(itemgetter(key), rows), np.int64, len(rows))


def _floats(rows: Rows, get: Callable[[Mapping[str, Any]], float]) -> NDArray[np.float64]:
    return np.fromiter(map(get, rows), np.float64, len(rows))


def _boxes(rows: Rows, get: Callable[[Mapping[str, Any]], Iterable[float]]) -> NDArray[np.float64]:
    flat = np.fromiter(chain.from_iterable(map(get, rows)), np.float64, 4 * len(rows))
    return flat.reshape(-1, 4)
