"""The same evaluation by pycocotools, which is the record: slow, and what ours is held against."""

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.evaluate.accumulation import Arrays
from detector.evaluate.columns import Detections, Objects, Problem
from detector.evaluate.evaluation import AREAS, IOUS, Comparison, Evaluation, Ranges, outside


def evaluate(comparison: Comparison, ranges: Ranges = AREAS) -> Evaluation:
    """What `evaluation.evaluate` gives, out of pycocotools' own arrays and matches."""
    problem = comparison.problem
    found = run(problem, ranges)
    images, classes = len(problem.image_ids), len(problem.category_ids)
    objects = np.zeros(classes, np.int64)
    parts = [_Part.empty()]
    for k, class_id in enumerate(problem.category_ids):
        first = k * len(ranges) * images
        for one in found.evalImgs[first : first + images]:
            if one is not None:
                objects[k] += np.count_nonzero(one["gtIgnore"] == 0)
                parts.append(_Part.of(found, one, (one["image_id"], class_id)))
    rows = np.concatenate([part.rows for part in parts])
    matched = np.concatenate([part.matched for part in parts], axis=1)
    return Evaluation(
        comparison=comparison,
        ranges=tuple(ranges),
        arrays=Arrays(*(found.eval[name] for name in ("precision", "recall", "scores"))),
        rows=rows,
        image_ids=problem.detections.image_ids[rows],
        classes=np.searchsorted(problem.category_ids, problem.detections.category_ids[rows]),
        scores=problem.detections.scores[rows],
        inside=~outside(problem.detections.areas[rows], next(iter(ranges.values()))),
        best=np.concatenate([part.best for part in parts]),
        contenders=np.arange(len(rows)),
        matched=matched,
        matched_ious=np.concatenate([part.ious for part in parts], axis=1),
        hits=np.concatenate([part.hits for part in parts], axis=1),
        objects=objects,
    )


def run(problem: Problem, ranges: Ranges = AREAS) -> COCOeval:
    """pycocotools' evaluation, accumulated, with these ranges in the place of COCO's areas. Annotations and
    results are numbered from 1, because it takes a match with annotation 0 for no match."""
    iou_type = "segm" if isinstance(problem.detections.regions, list) else "bbox"
    truth = _index(problem, problem.objects, iscrowd=problem.objects.crowds.astype(int).tolist())
    results = _index(problem, problem.detections, score=problem.detections.scores.tolist())
    evaluation = COCOeval(truth, results, iouType=iou_type)
    evaluation.params.areaRngLbl = list(ranges)
    evaluation.params.areaRng = [list(limits) for limits in ranges.values()]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _index(problem: Problem, columns: Objects | Detections, **more: list[Any]) -> COCO:
    coco = COCO()
    masked = isinstance(columns.regions, list)
    given = {
        "image_id": columns.image_ids.tolist(),
        "category_id": columns.category_ids.tolist(),
        "segmentation" if masked else "bbox": list(columns.regions),
        "area": columns.areas.tolist(),
        **more,
    }
    coco.dataset = {
        # Masks are run lengths already: nobody looks at the size.
        "images": [{"id": image, "width": 0, "height": 0} for image in problem.image_ids.tolist()],
        "categories": [{"id": category} for category in problem.category_ids.tolist()],
        "annotations": [
            {"id": number, **dict(zip(given, values, strict=True))}
            for number, values in enumerate(zip(*given.values(), strict=True), start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


class _Part:
    """The detections of one class and image."""

    def __init__(
        self,
        rows: NDArray[np.int64],
        matched: NDArray[np.int64],
        ious: NDArray[np.float64],
        hits: NDArray[np.bool_],
        best: NDArray[np.float64],
    ) -> None:
        self.rows, self.matched, self.ious, self.hits, self.best = rows, matched, ious, hits, best

    @classmethod
    def empty(cls) -> "_Part":
        shape = len(IOUS), 0
        none = np.zeros(0, np.int64)
        return cls(none, np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape, bool), np.zeros(0))

    @classmethod
    def of(cls, evaluation: COCOeval, one: dict[str, Any], group: tuple[int, int]) -> "_Part":
        rows = np.array(one["dtIds"], np.int64) - 1
        objects = evaluation._gts[group]
        matched = one["dtMatches"].astype(np.int64) - 1
        overlap = np.asarray(evaluation.ious[group], np.float64).reshape(len(rows), len(objects))
        column = {thing["id"] - 1: k for k, thing in enumerate(objects)}
        ious = np.zeros(matched.shape)
        for t, d in zip(*np.nonzero(matched >= 0), strict=True):
            ious[t, d] = overlap[d, column[matched[t, d]]]
        plain = [k for k, thing in enumerate(objects) if not thing["iscrowd"]]
        hits = (matched >= 0) & ~one["dtIgnore"].astype(bool)
        return cls(rows, matched, ious, hits, overlap[:, plain].max(axis=1, initial=0.0))
