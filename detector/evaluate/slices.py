"""AP of a kind of objects: small ones, slender ones, hidden ones.

COCO's own way with sizes, taken to other properties. Objects outside the slice are ignored: they need not be
found, and what is matched to them counts neither way. A detection that matches nothing is a false positive of
every slice that it may belong to: by its own box where the property is one of boxes (size, elongation), of
all slices where it is one of objects only (fill, overlap, flags). So slices of the second kind compare with
each other and between models, not with the AP of all objects.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.evaluate import coco, evaluators
from detector.evaluate.columns import Problem, boxes_of
from detector.evaluate.evaluation import Comparison
from detector.evaluate.evaluators import DEFAULT, Evaluator
from detector.evaluate.overlap import corners, covered, iou

_NOWHERE = -1.0  # below all ranges


@dataclass(frozen=True)
class Slice:
    """One slice: objects of `lowest <= value < highest`. The metrics are 0 to 1, null without objects."""

    group: str
    name: str
    lowest: float
    highest: float | None  # None: no limit
    objects: int
    AP: float | None
    AP50: float | None
    AP75: float | None
    AR100: float | None


@dataclass(frozen=True)
class _Group:
    name: str
    edges: tuple[float, ...]
    names: tuple[str, ...]
    objects: ArrayLike  # the property of each annotation
    detections: NDArray[np.float64] | None = None  # None: no property of detections


def slices(
    comparison: Comparison,
    ground_truth: dict[str, Any],
    between_groups: Callable[[], None] = lambda: None,
    evaluator: Evaluator = DEFAULT,
) -> list[Slice]:
    """AP in slices of what is compared (an evaluation's `comparison`, of this dataset).

    Groups: `size` (COCO's areas); `elongation` (longer side by shorter side of the box); `fill` (area by area
    of the box, of objects with a mask); `overlap` (greatest IoU with the box of another object, of any class,
    crowds apart); `crowd` (whether the box meets that of a crowd); `occluded`, `truncated`, `difficult` as
    annotated. The last five are left out where no object, or every object, has the property.
    """
    problem = comparison.problem
    crowd, areas = problem.objects.crowds, problem.objects.areas
    cut: list[Slice] = []
    for group in _groups(ground_truth["annotations"], problem):
        between_groups()
        ranges = _ranges(group)
        # What has no region to compare is ignored in every slice.
        properties = np.where(areas >= 0, np.array(group.objects, np.float64), _NOWHERE)
        arrays = evaluators.evaluate(
            comparison.with_areas(properties, group.detections), ranges, evaluator
        ).arrays
        objects = properties[~crowd]
        for k, (name, (low, high)) in enumerate(ranges.items()):
            precision = arrays.precision[:, :, :, k, -1]
            cut.append(
                Slice(
                    group.name,
                    name,
                    low,
                    None if math.isinf(high) else group.edges[k + 1],
                    int(np.count_nonzero((objects >= low) & (objects <= high))),
                    coco.mean_precision(precision),
                    coco.mean_precision(precision[0]),
                    coco.mean_precision(precision[5]),
                    coco.mean_precision(arrays.recall[:, :, k, -1]),
                )
            )
    return cut


def _groups(truth: Sequence[dict[str, Any]], problem: Problem) -> list[_Group]:
    crowd = problem.objects.crowds
    groups = [
        _Group(
            "size",
            (0.0, 32.0**2, 96.0**2, math.inf),
            ("small", "medium", "large"),
            problem.objects.areas,
            problem.detections.areas,
        ),
        _Group(
            "elongation",
            (1.0, 1.5, 2.0, 3.0, math.inf),
            ("below_1.5", "1.5_to_2", "2_to_3", "above_3"),
            _elongations([one["bbox"] for one in truth]),
            _elongations(boxes_of(problem.detections.regions)),
        ),
    ]
    if any(one.get("segmentation") for one in truth):
        fill = [_fill(one) if one.get("segmentation") else _NOWHERE for one in truth]
        names = ("below_0.4", "0.4_to_0.6", "0.6_to_0.8", "above_0.8")
        groups.append(_Group("fill", (0.0, 0.4, 0.6, 0.8, math.inf), names, fill))
    overlap, beside = _surroundings(truth, crowd)
    if any(overlap):
        names = ("below_0.05", "0.05_to_0.2", "0.2_to_0.5", "above_0.5")
        groups.append(_Group("overlap", (0.0, 0.05, 0.2, 0.5, math.inf), names, overlap))
    flags: dict[str, list[float]] = {"crowd": beside}
    for flag in ("occluded", "truncated", "difficult"):
        flags[flag] = [float(bool(one.get(flag))) for one in truth]
    for flag, values in flags.items():
        if len(set(np.array(values)[~crowd])) == 2:
            groups.append(_Group(flag, (0.0, 1.0, math.inf), ("no", "yes"), values))
    return groups


def _ranges(group: _Group) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each slice, both within it, as pycocotools compares."""
    edges = list(zip(group.edges, group.edges[1:], strict=False))
    if group.name != "size":  # where COCO counts an object of exactly 32 x 32 pixels as small and as medium
        edges = [(low, high if math.isinf(high) else math.nextafter(high, -math.inf)) for low, high in edges]
    return dict(zip(group.names, edges, strict=True))


def _elongations(boxes: ArrayLike) -> NDArray[np.float64]:
    """Of boxes (N, 4) xywh."""
    sides = np.sort(np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:], axis=1)
    shorter, longer = sides.T
    ratios: NDArray[np.float64] = np.divide(
        longer, shorter, out=np.full(len(sides), np.inf), where=shorter > 0
    )
    return ratios


def _fill(row: dict[str, Any]) -> float:
    box = row["bbox"][2] * row["bbox"][3]
    return row["area"] / box if box > 0 else _NOWHERE


def _surroundings(
    truth: Sequence[dict[str, Any]], crowd: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[list[float], list[float]]:
    """For each annotation the greatest IoU with another object, and whether it meets a crowd (0 or 1)."""
    overlap, beside = np.zeros(len(truth)), np.zeros(len(truth))
    places: dict[int, list[int]] = {}
    for k, one in enumerate(truth):
        places.setdefault(one["image_id"], []).append(k)
    for here in places.values():
        index = np.array(here)
        boxes = corners([truth[k]["bbox"] for k in here])
        plain = ~crowd[index]
        others = iou(boxes, boxes[plain])
        others[np.flatnonzero(plain), np.arange(np.count_nonzero(plain))] = 0.0  # itself
        overlap[index] = others.max(axis=1, initial=0.0)
        beside[index] = (covered(boxes, boxes[~plain]) > 0).any(axis=1)
    return overlap.tolist(), beside.tolist()
