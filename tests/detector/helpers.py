"""A small dataset on disk, and trainings of a few steps on it."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from detector.config import TrainConfig
from detector.data.materialise import image_path
from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from detector.engine import train
from detector.events import AnyEvent, EventReader, EventWriter

CATEGORIES = [Category(7, "light"), Category(3, "dark")]  # neither sorted nor contiguous
SIZES = [(128, 128), (96, 160), (150, 100), (128, 128)]  # height, width


def write_dataset(directory: Path, *, train: int = 8, val: int = 4) -> DatasetIndex:
    """Grey noise with a light and a dark rectangle on each image, of several sizes; already materialised."""
    random = np.random.default_rng(0)
    images = []
    for number in range(train + val):
        height, width = SIZES[number % len(SIZES)]
        pixels = random.integers(90, 160, (height, width, 3), dtype=np.uint8)
        annotations: list[Annotation] = []
        for category, value in zip(CATEGORIES, (230, 20), strict=True):
            w, h = random.integers(30, 60, 2)
            x, y = random.integers(0, width - w), random.integers(0, height - h)
            pixels[y : y + h, x : x + w] = value
            box = (float(x), float(y), float(x + w), float(y + h))
            annotations.append(Annotation(2 * number + len(annotations), category.id, box, float(w * h)))
        split = "train" if number < train else "val"
        record = ImageRecord(100 + number, f"{split}/{number}.png", split, width, height, annotations)
        images.append(record)
        path = image_path(directory, record)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    index = DatasetIndex("coco", CATEGORIES, images)
    (directory / "dataset.json").write_bytes(msgspec.json.encode(index))
    return index


def config(**changes: Any) -> TrainConfig:
    """Two epochs of two steps on SSDlite at its smallest."""
    small: dict[str, Any] = {
        "architecture": {"kind": "ssdlite320_mobilenet_v3_large", "image_size": 128},
        "epochs": 2,
        "batch_size": 4,
        "device": "cpu",
    }
    return TrainConfig.model_validate({**small, **changes})


def run_training(data: Path, run: Path, training: TrainConfig, **options: Any) -> list[AnyEvent]:
    """Trains in this process; gives the events."""
    run.mkdir(parents=True, exist_ok=True)
    writer = EventWriter(run)
    try:
        train(training, data, run, writer=writer, **options)
    finally:
        writer.close()
    return EventReader(run).read()
