"""How much boxes overlap."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


def corners(boxes: ArrayLike) -> Boxes:
    """Boxes (N, 4) xywh, as COCO writes them, as xyxy."""
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)


def areas(boxes: Boxes, *, inclusive: bool = False) -> NDArray[np.float64]:
    """Areas (N,) of boxes (N, 4) xyxy. `inclusive`: the corners are pixels that belong to the box."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2] + inclusive, 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def intersections(a: Boxes, b: Boxes, *, inclusive: bool = False) -> NDArray[np.float64]:
    """Common areas (N, M) of boxes (N, 4) and (M, 4) xyxy."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low + inclusive, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou(a: Boxes, b: Boxes, *, inclusive: bool = False) -> NDArray[np.float64]:
    """Intersection over union (N, M); 0 where neither box has an area."""
    common = intersections(a, b, inclusive=inclusive)
    union = areas(a, inclusive=inclusive)[:, None] + areas(b, inclusive=inclusive)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def covered(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """The share (N, M) of each box of `a` that lies in a box of `b`: how COCO compares with a crowd."""
    common = intersections(a, b)
    own = np.broadcast_to(areas(a)[:, None], common.shape)
    return np.divide(common, own, out=np.zeros_like(common), where=own > 0)
