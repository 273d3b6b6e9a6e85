"""`python -m tests.hostile.large_upload`: two gigabytes by tus to the real service, interrupted three times.

The connection is cut, then the API killed, then the whole service; each time the client asks how far it has
come and goes on from there. Afterwards the archive has to be the one that was sent, and the dataset valid.
Resident memory is looked at all the time. Prints a report and writes it to docs/security-upload.md. 1 when
anything was not as it must be.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import numpy as np
import psutil
import simplejpeg

from tests.acceptance.service import RunningService
from tests.api.test_tus import PART, arrived, begin

REPORT = Path(__file__).parents[2] / "docs" / "security-upload.md"
FLAT_BYTES = 64 << 20
_WIDTH, _HEIGHT = 1024, 768
_BLOCK = 1 << 20
_START_SECONDS = 120.0
_VALIDATION_SECONDS = 1800.0


class Cut(Exception):
    """The client ends its connection."""


@dataclass
class Finding:
    """What was seen."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def say(self, line: str, *, well: bool = True) -> None:
        self.lines.append(line)
        print(line, flush=True)  # noqa: T201
        if not well:
            self.wrong.append(line)


class Resident:
    """The most resident bytes of a process and of its children, above what they had as this began."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.start = self.most = process.memory_info().rss

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            try:
                self.most = max(self.most, self._process.memory_info().rss)
            except psutil.NoSuchProcess:
                return


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.large_upload", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2100)
    options = parser.parse_args()
    finding = Finding()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sent, images = write_archive(folder / "large.zip", options.megabytes << 20)
        finding.say(f"- {sent / 1e9:.2f} GB: {images} JPEG images of {_WIDTH} x {_HEIGHT} pixels of noise")
        _upload(finding, folder, images)
    verdict = "nothing that is not as it must be" if not finding.wrong else f"wrong: {len(finding.wrong)}"
    head = "# Two gigabytes, interrupted three times\n\n`python -m tests.hostile.large_upload`, "
    head += f"{datetime.now(UTC):%Y-%m-%d}: {verdict}.\n"
    REPORT.write_text("\n".join([head, *finding.lines]) + "\n")
    return 1 if finding.wrong else 0


def write_archive(path: Path, size: int) -> tuple[int, int]:
    """A valid COCO zip of at least so many bytes, no two images alike; its size and its number of images."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (4, _HEIGHT, _WIDTH, 3), np.uint8)
    bases = [simplejpeg.encode_jpeg(np.ascontiguousarray(one), quality=90) for one in noise]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive, path.open("rb") as written:
        while os.fstat(written.fileno()).st_size < size:
            number = len(images) + 1
            base, comment = bases[number % len(bases)], b"image %12d" % number
            # A comment after the start of the image makes its bytes its own.
            mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            archive.writestr(f"images/{number:08d}.jpg", base[:2] + mark + base[2:])
            images.append(
                {"id": number, "file_name": f"{number:08d}.jpg", "width": _WIDTH, "height": _HEIGHT}
            )
            x, y = (float(one) for one in random.integers(0, 500, 2))
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, 200.0, 150.0]}
            )
        index = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "noise"}]}
        archive.writestr("annotations/instances.json", json.dumps(index))
    return path.stat().st_size, len(images)


def _upload(finding: Finding, folder: Path, images: int) -> None:
    archive, data = folder / "large.zip", folder / "data"
    length = archive.stat().st_size
    with RunningService(data, start_seconds=_START_SECONDS) as service:
        path = begin(service.client, length)
        _part(finding, service, path, archive, 0.27, "the client cut its connection", _cut)
        victim = _api_of(service)
        _part(finding, service, path, archive, 0.51, "the API was killed", victim.kill)
        service.until(lambda: not victim.is_running() and _answers(service), _START_SECONDS)
        _part(finding, service, path, archive, 0.78, "the whole service was killed", lambda: _kill(service))
    with RunningService(data, start_seconds=_START_SECONDS) as service:
        _part(finding, service, path, archive, 2.0, "", _cut)
        ingest = next(
            process for process in service.parent.children(recursive=True) if "ingest" in process.cmdline()
        )
        begun = time.monotonic()
        api, worker = Resident(_api_of(service)), Resident(ingest)
        with api.watched(), worker.watched():
            made = service.client.post("/v1/datasets", json={"upload_id": path.rpartition("/")[2]})
            assert made.status_code == 202, made.text
            address = f"/v1/datasets/{made.json()['id']}"
            service.until(lambda: service.get(address)["status"] != "validating", _VALIDATION_SECONDS)
        dataset = service.get(address)
        is_whole = dataset["archive"]["sha256"] == _sha256(archive)
        finding.say(f"- SHA-256 of the archive as it was sent: {'yes' if is_whole else 'no'}", well=is_whole)
        found = (dataset["summary"] or {}).get("images")
        finding.say(
            f"- validated in {time.monotonic() - begun:.1f} s: {dataset['status']}, {found} images; API "
            f"{_grown(api)}, worker {_grown(worker)}",
            well=dataset["status"] == "ready" and found == images and _is_flat(api) and _is_flat(worker),
        )


def _part(
    finding: Finding,
    service: RunningService,
    path: str,
    archive: Path,
    until: float,
    what: str,
    strike: Callable[[], object],
) -> None:
    """Sends from where the upload has come to; at `until` of the whole length there is a strike."""
    length = archive.stat().st_size
    offset = arrived(service.client, path)
    api = Resident(_api_of(service))
    begun = time.monotonic()
    with archive.open("rb") as file, api.watched():
        blocks = _blocks(file, offset, int(until * length), strike)
        headers = PART | {"Upload-Offset": str(offset), "Content-Length": str(length - offset)}
        try:
            answer = service.client.patch(path, content=blocks, headers=headers, timeout=120)
            how = f"to the end, answered {answer.status_code}"
            well = not what and answer.status_code == 204
        except (Cut, httpx.TransportError):
            how = f"until {what}"
            well = bool(what)
    finding.say(
        f"- from byte {offset} {how}, {time.monotonic() - begun:.1f} s; API {_grown(api)}",
        well=well and _is_flat(api),
    )


def _blocks(file: BinaryIO, offset: int, strike_at: int, strike: Callable[[], object]) -> Iterator[bytes]:
    file.seek(offset)
    struck = False
    while data := file.read(_BLOCK):
        yield data
        if not struck and file.tell() >= strike_at:
            struck = True
            strike()


def _cut() -> None:
    raise Cut


def _kill(service: RunningService) -> None:
    """Every process of it, so that none can end in good order; returns when none is left."""
    service.note_processes()
    for process in service.left():
        process.kill()
    service.until(lambda: not service.left(), 30)


def _api_of(service: RunningService) -> psutil.Process:
    """The process that listens."""
    service.note_processes()
    for process in service.parent.children(recursive=True):
        if any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == service.port
            for connection in process.net_connections()
        ):
            return process
    raise AssertionError("nobody listens")


def _answers(service: RunningService) -> bool:
    try:
        return service.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _grown(resident: Resident) -> str:
    return f"{resident.start / 2**20:.0f} to at most {resident.most / 2**20:.0f} MiB resident"


def _is_flat(resident: Resident) -> bool:
    return resident.most - resident.start < FLAT_BYTES


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
