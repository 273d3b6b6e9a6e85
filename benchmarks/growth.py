"""What ten times the training data costs before and between the steps: nothing may be quadratic.

    python -m benchmarks.growth                       # 1,000 and 10,000 images
    python -m benchmarks.growth 1000 10000 100000

The dataset is an index of so many records with twelve objects each; all records share one picture on disk.
For each size a process of its own makes it, starts a training on it (catalogue read, splits, targets as
tensors, the truth of the evaluation), shuffles an epoch, loads and augments samples, and writes a checkpoint.
Times are CPU seconds of the process, so that a busy machine says much the same as a quiet one. The `times`
column is how much the last size takes of the first, to be held against how much larger it is.
"""

import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.table import Table

from benchmarks.harness import console

SIZES = (1_000, 10_000)
OBJECTS = 12
CATEGORIES = 20
EVALUATED = 10  # one image in so many is evaluated
SAMPLES = 64


def main() -> int:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    measured: list[dict[str, float]] = []
    for size in sizes:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.growth", "--one", str(size)],
            check=True,
            stdout=subprocess.PIPE,
        )
        measured.append(msgspec.json.decode(done.stdout, type=dict[str, float]))
    table = Table("", *(f"{size:,} images" for size in sizes), "times", title="growth", title_justify="left")
    for name in measured[0]:
        values = [one[name] for one in measured]
        table.add_row(name, *(f"{value:,.3f}" for value in values), f"{values[-1] / values[0]:.1f}")
    console.print(table)
    worst = max(measured[-1][name] / measured[0][name] for name in measured[0])
    limit = 1.5 * sizes[-1] / sizes[0]
    verdict = "pass" if worst <= limit else "short"
    print(f"name=growth ratio={worst:.1f} goal={limit:.0f} {verdict}", flush=True)
    return int(worst > limit)


def one(size: int) -> dict[str, float]:
    """Seconds of CPU and MB, by what took them."""
    from detector.config import SSDLite320, TrainConfig
    from detector.data.batches import Key
    from detector.data.loading import TrainingSet
    from detector.data.materialise import load
    from detector.engine import Training
    from detector.events import EventWriter
    from detector.models import input_specs
    from detector.parallel import Processes

    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.process_time()
        yield
        seconds[name] = time.process_time() - begun

    config = TrainConfig(architecture=SSDLite320(image_size=128), device="cpu", image_cache_mib=0)
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        run.mkdir()
        _write(data, size)
        writer = EventWriter(run)
        # The first brings what every training needs once; it stays, so that the second finds nothing freed.
        first = Training(config, data, run, writer, Processes(), _never, _never, initialise=True)
        before = _resident()
        with timed("start of a training, s"):
            training = Training(config, data, run, writer, Processes(), _never, _never, initialise=True)
        memory = _resident() - before
        gc.collect()  # else a pass over all that is in memory falls into what takes milliseconds
        with timed("order of an epoch, s"):
            batches = sum(1 for _ in training._batches)  # one after another, as a training takes them
        loader = iter(training._loader)
        with timed("4 steps loaded and taken, s"):
            for _ in range(4):
                training._step(next(loader))
        with timed("checkpoint, s"):
            training._save_checkpoint()
        index = load(data)
        images = [image for image in index.images if image.split == "train"]
        samples = TrainingSet(
            data, images, index.categories, input_specs(config), config.augmentation, seed=0, cache_bytes=0
        )
        step = max(1, len(images) // SAMPLES)
        with timed(f"{SAMPLES} samples decoded and augmented, s"):
            for place in range(SAMPLES):
                samples[Key(0, place * step % len(images))]
        writer.close()
        assert batches == len(images) // config.batch_size and first is not training  # noqa: S101, PT018
    return seconds | {
        "memory of a training, MB": max(memory, 0.1),
        "peak of the process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _never() -> bool:
    return False


def _resident() -> float:
    """MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _write(directory: Path, size: int) -> None:
    """A materialised dataset of one picture under many names."""
    import simplejpeg

    from detector.data.materialise import image_path
    from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
    from detector.data.synthetic import synthetic_image

    side = 320
    pixels, _ = synthetic_image(0, side)
    picture = directory / "picture.jpg"
    (directory / "images").mkdir(parents=True)
    picture.write_bytes(simplejpeg.encode_jpeg(pixels, quality=90, colorspace="RGB"))
    images = []
    for number in range(size):
        annotations = []
        for k in range(OBJECTS):
            x, y = float((37 * number + 53 * k) % 240), float((41 * number + 29 * k) % 240)
            box = (x, y, x + 20.0 + k, y + 30.0)
            label = (number + k) % CATEGORIES + 1
            annotations.append(Annotation(OBJECTS * number + k, label, box, (20.0 + k) * 30.0))
        split = "val" if number % EVALUATED == 0 else "train"
        record = ImageRecord(number, f"{split}/{number:07d}.jpg", split, side, side, annotations)
        images.append(record)
        image_path(directory, record).symlink_to(picture)
    categories = [Category(number + 1, f"class {number}") for number in range(CATEGORIES)]
    (directory / "dataset.json").write_bytes(msgspec.json.encode(DatasetIndex("coco", categories, images)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.stdout.write(msgspec.json.encode(one(int(sys.argv[2]))).decode())
    else:
        sys.exit(main())
