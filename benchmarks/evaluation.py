"""COCO's metrics against pycocotools on a problem as large as COCO's val2017. Goal: 50 times as fast.

Both start from the same dataset in memory and the same detections in an array, and end with the twelve
numbers (ours also with those of each class and the threshold of the best F1). Numbers and arrays are
compared bit by bit. A second table has the same from two JSON files, the memory that each takes beside the
problem itself, and hotcoco where it is installed. `--images 200` makes a small problem, `--growth` shows time
and memory of 5,000, 50,000 and 500,000 detections.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.table import Table

from benchmarks.harness import console, interleaved, report
from detector.evaluate import coco, results
from detector.evaluate.columns import Detections

IMAGES = 5_000
DETECTIONS = 100  # of an image
CLASSES = 80
ROUNDS = 2
GOAL = 50
GROWTH = (50, 500, 5_000)


@dataclass(frozen=True)
class Problem:
    truth: dict[str, Any]
    found: NDArray[np.float64]  # (N, 7): image, x, y, width, height, score, class, as loadRes takes it

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"image_id": int(row[0]), "category_id": int(row[6]), "bbox": row[1:5], "score": row[5]}
            for row in self.found.tolist()
        ]


def main() -> bool:
    options = _options()
    problem = make(options.images)
    if options.once:
        print(json.dumps(_once(WAYS[options.once], problem)))
        return True
    if options.growth:
        return _show_growth()
    kept: dict[str, Any] = {}

    def keep(name: str) -> Callable[[], None]:
        return lambda: kept.__setitem__(name, WAYS[name](problem))

    ours, theirs = interleaved(keep("ours"), keep("pycocotools"), options.rounds)
    _compare(problem, kept["ours"], kept["pycocotools"])
    _show_more(problem, options.images)
    case = f"{options.images} images, {len(problem.found)} detections in an array"
    return report("evaluation", GOAL, [(case, ours, theirs)])


def make(images: int) -> Problem:
    """Objects, classes and crowds as many as in val2017; of each image's 100 detections two in five near an
    object, the rest anywhere, of its classes or any; some scores are equal. Best score first."""
    random = np.random.default_rng(0)
    objects = random.poisson(7.3, images)
    image = np.repeat(np.arange(images), objects)
    own = random.integers(0, CLASSES, (images, 3))  # the classes on each image
    category = own[image, random.integers(0, 3, len(image))]
    boxes = _boxes(random, len(image))
    crowd = random.random(len(image)) < 0.012

    count = images * DETECTIONS
    on = np.repeat(np.arange(images), DETECTIONS)
    near = (random.random(count) < 0.4) & (objects[on] > 0)
    first = np.cumsum(objects) - objects
    of = np.where(near, first[on] + (random.random(count) * objects[on]).astype(int), 0)
    moved = boxes[of] + random.normal(0, 0.1, (count, 4)) * np.tile(boxes[of][:, 2:], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], 1.0)
    anywhere = np.where(random.random(count) < 0.5, own[on, 0], random.integers(0, CLASSES, count))
    score = np.where(near, random.beta(3, 3, count), random.beta(1, 5, count)).round(4)
    found = np.column_stack(
        [
            on + 1,
            np.where(near[:, None], moved, _boxes(random, count)),
            score,
            np.where(near, category[of], anywhere) + 1,
        ]
    )
    truth = {
        "images": [{"id": k + 1, "width": 640, "height": 640} for k in range(images)],
        "categories": [{"id": k + 1, "name": f"class {k + 1}"} for k in range(CLASSES)],
        "annotations": [
            {
                "id": k + 1,
                "image_id": int(image[k]) + 1,
                "category_id": int(category[k]) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(crowd[k]),
            }
            for k, box in enumerate(boxes.tolist())
        ],
    }
    return Problem(truth, found[np.lexsort((-score, on))])


def _boxes(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    sides = np.exp(random.normal(4, 1, (count, 2))).clip(4, 400)
    return np.concatenate([random.uniform(0, 500, (count, 2)), sides], axis=1)


def _ours(problem: Problem) -> coco.CocoMetrics:
    return coco.evaluate(problem.truth, _columns(problem.found))


def _columns(found: NDArray[np.float64]) -> Detections:
    image_ids, class_ids = found[:, 0].astype(np.int64), found[:, 6].astype(np.int64)
    return Detections.of_boxes(image_ids, class_ids, found[:, 1:5], found[:, 5])


def _pycocotools(problem: Problem) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = problem.truth
        truth.createIndex()
        return _summarised(COCOeval(truth, truth.loadRes(problem.found), "bbox"))


def _hotcoco(problem: Problem) -> Any:
    import hotcoco  # type: ignore[import-not-found, unused-ignore]  # a peer, if it is there

    with contextlib.redirect_stdout(io.StringIO()):
        truth = hotcoco.COCO(problem.truth)
        return _summarised(hotcoco.COCOeval(truth, truth.load_res(problem.found), "bbox"))


def _summarised(evaluation: Any) -> Any:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


WAYS: dict[str, Callable[[Problem], Any]] = {
    "ours": _ours,
    "pycocotools": _pycocotools,
    "hotcoco": _hotcoco,
}


def _compare(problem: Problem, ours: coco.CocoMetrics, theirs: COCOeval) -> None:
    """Raises SystemExit where a bit differs."""
    arrays = coco.evaluation(problem.truth, _columns(problem.found)).arrays
    for name in ("precision", "recall", "scores"):
        if not np.array_equal(getattr(arrays, name), theirs.eval[name]):
            sys.exit(f"The array of {name} is not that of pycocotools.")
    precision = theirs.eval["precision"][:, :, :, 0, -1]
    per_class = [float(np.mean(precision[:, :, k])) for k in range(CLASSES) if precision[0, 0, k] > -1]
    same = [ours.metrics[name] for name in coco.METRICS] == theirs.stats.tolist()
    if not same or [one.AP for one in ours.per_class if one.AP is not None] != per_class:
        sys.exit("The numbers are not those of pycocotools.")


def _show_more(problem: Problem, images: int) -> None:
    peers = ["hotcoco"] if importlib.util.find_spec("hotcoco") else []
    table = Table(
        "", *WAYS if peers else ("ours", "pycocotools"), title="beside the goal", title_justify="left"
    )
    once = {name: _in_a_process(name, images) for name in ("ours", "pycocotools", *peers)}
    table.add_row("from an array, CPU s", *(f"{one['cpu']:.2f}" for one in once.values()))
    table.add_row("memory, MB", *(f"{one['megabytes']:.0f}" for one in once.values()))
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "truth.json", Path(folder) / "found.json"
        files[0].write_text(json.dumps(problem.truth))
        files[1].write_text(json.dumps(problem.rows()))
        table.add_row("from files, s", *(f"{_timed(way, *files):.2f}" for way in (_our_files, _their_files)))
    console.print(table)
    if not peers:
        print("hotcoco is not installed here, so it is not in the table.")


def _our_files(truth: Path, found: Path) -> None:
    coco.evaluate(*results.check(results.read(truth), results.read_detections(found)))


def _their_files(truth: Path, found: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO(str(truth))
        _summarised(COCOeval(index, index.loadRes(str(found)), "bbox"))


def _show_growth() -> bool:
    table = Table("detections", "objects", "CPU s", "µs each", "MB", title="growth", title_justify="left")
    for images in GROWTH:
        once = _in_a_process("ours", images)
        count = images * DETECTIONS
        table.add_row(
            f"{count}",
            f"{once['objects']}",
            f"{once['cpu']:.3f}",
            f"{once['cpu'] / count * 1e6:.1f}",
            f"{once['megabytes']:.0f}",
        )
    console.print(table)
    return True


def _in_a_process(name: str, images: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.evaluation", "--once", name, "--images", str(images)]
    said: dict[str, float] = json.loads(subprocess.check_output(command))
    return said


def _once(way: Callable[[Problem], Any], problem: Problem) -> dict[str, float]:
    """CPU seconds of a call, and the most memory that it took above what was there before (Linux)."""
    way(make(20))  # what is imported and made once
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory("VmRSS")
    start = time.process_time()
    way(problem)
    return {
        "cpu": time.process_time() - start,
        "megabytes": (_memory("VmHWM") - before) / 1e6,
        "objects": len(problem.truth["annotations"]),
    }


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _timed(call: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="with 100 detections each")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--once", choices=list(WAYS), help="one call; prints CPU seconds and MB as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
