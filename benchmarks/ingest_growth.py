"""What annotations cost: time and memory of reading them with ten and a hundred times as many.

No peer and no goal: tables. Each size is read by a process of its own, since memory is counted by its peak:
the COCO archive as a validation reads it, and the index that it writes as a training reads that. Images are
small and few, so that annotations are what grows; those of one image are 500.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import simplejpeg
from rich.table import Table

from benchmarks.harness import console
from detector.data import materialise
from detector.data.index_file import parts
from detector.data.inspect import inspect

COUNTS = (10_000, 100_000, 1_000_000)
_OF_AN_IMAGE = 500
_CORNERS = 10  # of a polygon


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.once is not None:
        _once(told.once)
        return
    for polygons in (False, True):
        title = f"polygons of {_CORNERS} corners" if polygons else "boxes"
        table = Table("annotations", "JSON, MB", "CPU s", "µs each", "MB", "bytes each", title=title)
        with tempfile.TemporaryDirectory() as folder:
            for count in told.counts:
                archive = Path(folder) / "dataset.zip"
                json_bytes = write(archive, count, polygons=polygons)
                table.add_row(f"{count:,}", f"{json_bytes / 1e6:.0f}", *_measured(archive, count))
                index = Path(folder) / "dataset.json"
                table.add_row("  its index", f"{index.stat().st_size / 1e6:.0f}", *_measured(index, count))
        console.print(table)


def _measured(path: Path, count: int) -> tuple[str, str, str, str]:
    command = [sys.executable, "-m", "benchmarks.ingest_growth", "--once", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, kept = map(float, done.stdout.split())
    return f"{seconds:.2f}", f"{1e6 * seconds / count:.1f}", f"{kept / 1e6:.0f}", f"{kept / count:.0f}"


def write(path: Path, count: int, *, polygons: bool = False) -> int:
    """A COCO zip with so many annotations; bytes of its JSON."""
    random = np.random.default_rng(0)
    jpeg = simplejpeg.encode_jpeg(np.zeros((480, 640, 3), np.uint8))
    images = -(-count // _OF_AN_IMAGE)
    head = {
        "images": [
            {"id": k, "file_name": f"{k:06d}.jpg", "width": 640, "height": 480} for k in range(images)
        ],
        "categories": [{"id": k, "name": f"kind {k}"} for k in range(80)],
        "annotations": [],
    }
    written = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train/_annotations.coco.json", "w", force_zip64=True) as member:
            written += member.write(msgspec.json.encode(head).removesuffix(b"]}"))
            for image in range(images):
                first = image * _OF_AN_IMAGE
                some = _annotations(random, first, min(first + _OF_AN_IMAGE, count), polygons)
                comma = b"," * (image > 0)
                written += member.write(
                    comma + msgspec.json.encode(some).removeprefix(b"[").removesuffix(b"]")
                )
            written += member.write(b"]}")
        for k in range(images):
            comment = b"image %10d" % k  # no two are alike
            mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            archive.writestr(f"train/{k:06d}.jpg", jpeg[:2] + mark + jpeg[2:], zipfile.ZIP_STORED)
    return written


def _annotations(random: np.random.Generator, start: int, end: int, polygons: bool) -> list[dict[str, Any]]:
    """Of one image."""
    corners = random.uniform(0, 200, (end - start, 2)).round(2)
    sizes = random.uniform(2, 200, (end - start, 2)).round(2)
    found: list[dict[str, Any]] = [
        {
            "id": k + 1,
            "image_id": k // _OF_AN_IMAGE,
            "category_id": k % 80,
            "bbox": [*corner, *size],
            "area": size[0] * size[1],
            "iscrowd": 0,
        }
        for k, corner, size in zip(range(start, end), corners.tolist(), sizes.tolist(), strict=True)
    ]
    if polygons:
        angles = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles)], 1)  # (corners, 2)
        points = (corners + sizes / 2)[:, None] + circle * (sizes / 2)[:, None]
        for one, polygon in zip(found, points.round(2).reshape(len(found), -1).tolist(), strict=True):
            one["segmentation"] = [polygon]
    return found


def _once(path: Path) -> None:
    """Prints the CPU seconds, and by how many bytes the peak of memory has grown."""
    before, begun = _peak(), time.process_time()
    if path.suffix == ".json":
        read = materialise.load(path.parent)
        print(time.process_time() - begun, _peak() - before)
        if not all(image.annotations for image in read.images):
            raise RuntimeError("the index is not read as it is")
        return
    index, found = inspect(path, strict_decode=False)
    print(time.process_time() - begun, _peak() - before)
    if index is None or found.summary["used"] != found.summary["annotations"] or found.findings_total > 1:
        raise RuntimeError(f"the dataset is not read as it is: {found}")
    with (path.parent / "dataset.json").open("wb") as file:
        file.writelines(parts(index))


def _peak() -> int:
    """Most bytes that this process has had; what `getrusage` tells begins with the peak of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
