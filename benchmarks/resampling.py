"""AP of resampled images: all resamples from matches that are made once, against the evaluator on each.

Both start from the same detections, in columns, and end with COCO's twelve numbers of every resample. The
evaluator, itself some fifty times as fast as pycocotools, has each resample as a dataset of its own, with new
images in the place of those that were drawn. The numbers are compared: no difference above 1e-12.

Goal: 20 times as fast on 87 images (a small dataset's test split). `--resamples 1000`, with `--images 5000`,
tells what one training of a comparison takes, as large as COCO's val2017 even; the evaluator then has 5 of
the resamples.
"""

import argparse
import resource
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation import make
from benchmarks.harness import console, interleaved, report
from detector.compare.resampling import draws, resample
from detector.evaluate.coco import METRICS, mean_precision
from detector.evaluate.columns import Detections, Objects, Problem, problem
from detector.evaluate.evaluation import Comparison, evaluate

IMAGES, RESAMPLES, ROUNDS = 87, 50, 3
GOAL = 20
MOST = 50_000  # images in all resamples; above, the evaluator has a few of the resamples only


def main() -> bool:
    options = _options()
    whole = _problem(options.images)
    counts = draws(options.images, options.resamples, 0)
    if options.images * options.resamples > MOST:
        return _once(whole, counts)
    kept: dict[str, Any] = {}

    def ours() -> None:
        kept["ours"] = resample(Comparison(whole), counts).metrics

    def reference() -> None:
        kept["reference"] = _each(whole, counts)

    a, b = interleaved(ours, reference, ROUNDS)
    _same(kept["ours"], kept["reference"])
    case = (
        f"{options.images} images, {len(whole.detections.scores)} detections, {options.resamples} resamples"
    )
    return report("resampling", GOAL, [(case, a, b)])


def _once(whole: Problem, counts: NDArray[np.int64]) -> bool:
    begun = time.process_time()
    found = resample(Comparison(whole), counts).metrics
    ours = (time.process_time() - begun) / counts.shape[1]
    few = min(5, counts.shape[1])
    begun = time.process_time()
    expected = _each(whole, counts[:, :few])
    reference = (time.process_time() - begun) / few
    _same({name: values[:few] for name, values in found.items()}, expected)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"{counts.shape[1]} resamples: {ours * counts.shape[1]:.1f} s of CPU, {peak:.1f} GB at most"
    )
    case = f"{len(counts)} images, {len(whole.detections.scores)} detections, a resample"
    return report("resampling", GOAL, [(case, [ours], [reference])])


def _problem(images: int) -> Problem:
    made = make(images)
    columns = made.found
    found = Detections.of_boxes(
        columns[:, 0].astype(np.int64), columns[:, 6].astype(np.int64), columns[:, 1:5], columns[:, 5]
    )
    return problem(made.truth, found)


def _each(whole: Problem, counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """COCO's numbers of each resample, by the evaluator."""
    found = [_twelve(_written_out(whole, column)) for column in counts.T]
    return {name: np.array([one[name] for one in found]) for name in METRICS}


def _written_out(whole: Problem, counts: NDArray[np.int64]) -> Problem:
    """The dataset that a resample stands for: each copy an image of its own."""
    drawn = np.repeat(np.arange(len(counts)), counts)
    things, found = whole.objects, whole.detections
    of_things, things_images = _taken(np.searchsorted(whole.image_ids, things.image_ids), drawn, len(counts))
    of_found, found_images = _taken(np.searchsorted(whole.image_ids, found.image_ids), drawn, len(counts))
    boxes, own = np.asarray(things.regions), np.asarray(found.regions)
    return replace(
        whole,
        image_ids=np.arange(len(drawn)),
        objects=Objects(
            things_images,
            things.category_ids[of_things],
            boxes[of_things],
            things.areas[of_things],
            things.crowds[of_things],
        ),
        detections=Detections(
            found_images,
            found.category_ids[of_found],
            own[of_found],
            found.scores[of_found],
            found.areas[of_found],
        ),
    )


def _taken(
    images: NDArray[np.int64], drawn: NDArray[np.int64], known: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the drawn images, each as often as it was drawn, and the new image of each row."""
    order = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[order], np.arange(known + 1))
    many = np.diff(starts)[drawn]
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    return order[np.repeat(starts[drawn], many) + within], np.repeat(np.arange(len(drawn)), many)


def _twelve(one: Problem) -> dict[str, float]:
    arrays = evaluate(Comparison(one)).arrays
    precision, recall = arrays.precision, arrays.recall
    values = [precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]]
    values += [precision[..., area, -1] for area in (1, 2, 3)]
    values += [recall[..., 0, most] for most in (0, 1, 2)] + [recall[..., area, -1] for area in (1, 2, 3)]
    means = (mean_precision(value) for value in values)
    return {name: np.nan if one is None else one for name, one in zip(METRICS, means, strict=True)}


def _same(ours: dict[str, NDArray[np.float64]], reference: dict[str, NDArray[np.float64]]) -> None:
    for name in METRICS:
        np.testing.assert_allclose(ours[name], reference[name], rtol=0, atol=1e-12, err_msg=name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.resampling", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
