"""The structural validation of an archive against reading and parsing it. Goal: 1.5 times that at most.

Reference: every member read with its CRC by `zipfile`, the annotations parsed by msgspec into typed objects.
Ours, beside that: the archive's rules (names, links, ratios, limits), every image's header, every reference
and box checked, and the report.
"""

import tempfile
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import simplejpeg

from benchmarks.harness import interleaved, report
from detector.data.inspect import inspect

IMAGES = 600
BOXES = 8  # of an image
ROUNDS = 8
GOAL = 1 / 1.5
_HEIGHT, _WIDTH = 480, 640


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int


class _Category(msgspec.Struct):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def main() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset.zip"
        megabytes = write(path) / 1e6
        times = interleaved(lambda: _inspected(path), lambda: _read(path), ROUNDS)
    return report(
        "ingest", round(GOAL, 3), [(f"{IMAGES} JPEGs, {megabytes:.0f} MB, {IMAGES * BOXES} boxes", *times)]
    )


def write(path: Path) -> int:
    """A COCO zip of noise; its bytes."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    jpeg = simplejpeg.encode_jpeg(noise, quality=85)
    images = [_Image(k, f"{k:06d}.jpg", _WIDTH, _HEIGHT) for k in range(IMAGES)]
    annotations = []
    for number in range(IMAGES * BOXES):
        x, y, w, h = random.uniform(1, 200, 4).round(2).tolist()
        annotations.append(_Annotation(number, number % IMAGES, number % 5, [x, y, w, h], w * h, 0))
    coco = _Coco(images, annotations, [_Category(k, f"kind {k}") for k in range(5)])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for image in images:
            # A comment after the start of the image: no two are alike.
            comment = b"image %10d" % image.id
            mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            archive.writestr(f"train/{image.file_name}", jpeg[:2] + mark + jpeg[2:])
        archive.writestr("train/_annotations.coco.json", msgspec.json.encode(coco))
    return path.stat().st_size


def _inspected(path: Path) -> None:
    index, found = inspect(path, strict_decode=False)
    if index is None or found.summary["used"] != IMAGES * BOXES:
        raise RuntimeError(f"the dataset is not read as it is: {found}")


def _read(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            data = archive.read(member)
            if member.filename.endswith(".json"):
                msgspec.json.decode(data, type=_Coco)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
