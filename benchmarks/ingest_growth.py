"""What annotations cost: time and memory of reading a COCO archive with ten and a hundred times as many.

No peer and no goal: a table. Each size is read by a process of its own, since memory is counted by its peak.
Images are small and few, so that annotations are what grows; those of one image are 500.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import simplejpeg
from rich.table import Table

from benchmarks.harness import console
from detector.data.inspect import inspect

COUNTS = (10_000, 100_000, 1_000_000)
_OF_AN_IMAGE = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.once is not None:
        _once(told.once)
        return
    table = Table("annotations", "JSON, MB", "CPU s", "µs each", "MB", "bytes each", title="annotations")
    with tempfile.TemporaryDirectory() as folder:
        for count in told.counts:
            path = Path(folder) / f"{count}.zip"
            json_bytes = write(path, count)
            command = [sys.executable, "-m", "benchmarks.ingest_growth", "--once", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, kept = map(float, done.stdout.split())
            table.add_row(
                f"{count:,}",
                f"{json_bytes / 1e6:.0f}",
                f"{seconds:.2f}",
                f"{1e6 * seconds / count:.1f}",
                f"{kept / 1e6:.0f}",
                f"{kept / count:.0f}",
            )
    console.print(table)


def write(path: Path, count: int) -> int:
    """A COCO zip with so many annotations; bytes of its JSON."""
    random = np.random.default_rng(0)
    jpeg = simplejpeg.encode_jpeg(np.zeros((480, 640, 3), np.uint8))
    images = -(-count // _OF_AN_IMAGE)
    corners = random.uniform(0, 200, (count, 2)).round(2).tolist()
    sizes = random.uniform(2, 200, (count, 2)).round(2).tolist()
    document = {
        "images": [
            {"id": k, "file_name": f"{k:06d}.jpg", "width": 640, "height": 480} for k in range(images)
        ],
        "categories": [{"id": k, "name": f"kind {k}"} for k in range(80)],
        "annotations": [
            {
                "id": k + 1,
                "image_id": k // _OF_AN_IMAGE,
                "category_id": k % 80,
                "bbox": [*corner, *size],
                "area": size[0] * size[1],
                "iscrowd": 0,
            }
            for k, (corner, size) in enumerate(zip(corners, sizes, strict=True))
        ],
    }
    written = msgspec.json.encode(document)
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(images):
            comment = b"image %10d" % k  # no two are alike
            mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            archive.writestr(f"train/{k:06d}.jpg", jpeg[:2] + mark + jpeg[2:])
        archive.writestr("train/_annotations.coco.json", written, compress_type=zipfile.ZIP_DEFLATED)
    return len(written)


def _once(path: Path) -> None:
    """Prints the CPU seconds, and by how many bytes the peak of memory has grown."""
    before, begun = _peak(), time.process_time()
    index, found = inspect(path, strict_decode=False)
    if index is None or found.summary["used"] != found.summary["annotations"]:
        raise RuntimeError(f"the dataset is not read as it is: {found}")
    print(time.process_time() - begun, _peak() - before)


def _peak() -> int:
    """Most bytes that this process has had; what `getrusage` tells begins with the peak of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
