"""Every place where words of strangers become values, each with the only exceptions that may come out.

`tests/hostile/test_parsers.py` gives each of them to hypothesis, `tests/hostile/fuzz.py` to atheris; `OWN`
are the modules that only read what the service itself has written.
"""

import functools
import io
import json
import os
import socket
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
from fastapi import Request
from pydantic import ValidationError

from api import negotiation, outbound, tus
from api.bodies import multipart
from api.dependencies import metadata_filter
from api.errors import (
    BodyMalformed,
    BodyTooLarge,
    Invalid,
    NotAcceptable,
    RangeNotSatisfiable,
)
from api.inference.thresholds import thresholds
from api.origin import is_local_name
from api.receiving import Given
from api.routes.jobs import _event_number
from api.schemas.datasets import DatasetCreate
from api.uploads import is_json
from detector import images, initial_weights, run_lengths
from detector.compare import told
from detector.compare.specification import read_specification
from detector.config import TrainConfig
from detector.data.archive import Limits, open_archive
from detector.data.inspect import inspect
from detector.data.refusals import ArchiveRefused
from detector.errors import (
    ComparisonInvalid,
    EvaluationTooLarge,
    ImageInvalid,
    InitialWeightsUnfit,
    ResultsInvalid,
    SearchInvalid,
    WeightsInvalid,
)
from detector.evaluate import results
from detector.events import EventReader
from detector.runtime import ModelCard
from detector.safetensors_header import HeaderScanner
from detector.search import specification as searches
from tests.api.test_model_import import BACKBONE, DETECTOR
from tests.api.tiny_model import CARD
from tests.detector.data.builders import (
    Members,
    coco_document,
    coco_members,
    encoded,
    jpeg,
    picture,
    voc_members,
    voc_object,
    voc_xml,
    yolo_members,
)

TRAIN = "annotations/instances_train.json"
XML = "VOC/Annotations/img_0.xml"
LABEL = "train/labels/0.txt"
LIMITS = Limits(member_bytes=1 << 24)


@dataclass(frozen=True)
class Parser:
    """One of them.

    Args:
        reads: files of the source that it goes through.
        seeds: what it is meant to read, to begin with.
        run: gives it these bytes; raises whatever is not declared.
        examples: how many of hypothesis' a commit is tested with.
    """

    name: str
    reads: tuple[str, ...]
    seeds: tuple[bytes, ...]
    run: Callable[[bytes], object]
    examples: int = 60


# What each module of `OWN` reads, and who wrote it.
OWN = {
    "api/kept.py": "the report that an evaluation's run wrote, found by its hash",
    "api/routes/comparisons.py": "the report that a comparison's run wrote, found by its hash",
    "api/routes/evaluations.py": "lines that an evaluation's run wrote, found by their hash",
    "api/inference/load.py": "model.json as the trainer wrote it, found by the hash in its row",
    "api/postman.py": "the webhook's secret as the service made it",
    "api/settings.py": "the environment, which is the operator's",
    "detector/__main__.py": "files of the run directory, and what the user of the command line gives it",
    "detector/artifacts.py": "a run directory of the trainer",
    "detector/checkpoint.py": "checkpoints under a checksum of their own: tests/detector/test_checkpoint.py",
    "detector/data/columns.py": "masks as the validation wrote them",
    "detector/data/index_file.py": "the index that the validation wrote, found by its hash",
    "detector/data/synthetic.py": "nothing: it writes archives",
    "store/backup.py": "a backup, which is the operator's; its blobs are held against their hashes",
    "store/glance.py": "columns of JSON that the service wrote",
    "store/settings.py": "the environment and the directory of secrets, which are the operator's",
    "detector/probe.py": "the config that the user of the command line gives it",
    "detector/runtime.py": "the ONNX graph as the trainer exported it, found by its hash",
    "detector/tensor_files.py": "weights whose header detector/safetensors_header.py has judged",
    "harmonicdet/client/annotations.py": "nothing: it writes archives",
    "harmonicdet/client/asynchronous/downloading.py": "answers of the user's own service",
    "harmonicdet/client/asynchronous/events.py": "answers of the user's own service",
    "harmonicdet/client/files.py": "nothing: it writes archives",
    "harmonicdet/client/synchronous/downloading.py": "answers of the user's own service",
    "harmonicdet/client/synchronous/events.py": "answers of the user's own service",
    "harmonicdet/commands/measuring.py": "the config that the user of the command line gives it",
    "harmonicdet/commands/searches.py": "the config that the user of the command line gives it",
    "harmonicdet/commands/shared.py": "words of the user of the command line",
    "harmonicdet/commands/train.py": "the config that the user of the command line gives it",
    "harmonicdet/demo.py": "answers of the user's own service",
    "worker/compare.py": "the result of a run directory",
    "worker/evaluate.py": "the result of a run directory",
    "worker/search.py": "the result of a run directory",
    "worker/tracking.py": "what the worker itself tells its child",
    "worker/train.py": "the result of a run directory",
    "worker/validate.py": "the report of a run directory",
}


def _request(headers: Iterable[tuple[bytes, bytes]] = (), query: bytes = b"", body: bytes = b"") -> Request:
    parts = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, start=1)
    ]

    async def receive() -> Any:
        return messages.pop(0)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": list(headers),
        "query_string": query,
    }
    return Request(scope, receive)


@functools.cache
def _scratch() -> Path:
    folder = tempfile.mkdtemp(prefix="harmonicdet-parsers-")
    return Path(folder)


def _file(data: bytes, name: str = "data") -> Path:
    """A file with these bytes: one for each process, written over every time."""
    path = _scratch() / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    return path


def forget_files() -> None:
    """Removes what the parsers were given as files."""
    for path in _scratch().iterdir():
        path.unlink()
    _scratch().rmdir()
    _scratch.cache_clear()


def _zip(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _archive(data: bytes) -> None:
    with suppress(ArchiveRefused), open_archive(_file(data), LIMITS) as archive:
        for name in archive.members:
            with suppress(ArchiveRefused):
                archive.read(name)


def _dataset(members: Members, name: str) -> Callable[[bytes], object]:
    """An archive in which one file is replaced."""

    def run(data: bytes) -> None:
        index, report = inspect(_file(_zip(members | {name: data})), limits=LIMITS)
        assert (index is not None) == report.valid

    return run


def _image(data: bytes) -> None:
    with suppress(ImageInvalid):
        images.probe(data, max_pixels=1_000_000)
    with suppress(ImageInvalid):
        images.decode(data, max_pixels=1_000_000)


def _safetensors(data: bytes) -> None:
    scanner = HeaderScanner()
    with suppress(WeightsInvalid):
        scanner.feed(data)
        scanner.tensors(len(data))


def _results(data: bytes) -> None:
    with suppress(ResultsInvalid, EvaluationTooLarge):
        results.check(coco_document(["0.jpg", "1.jpg"]), results.read_detections(_file(data)))


def _comparison(data: bytes) -> None:
    with suppress(ComparisonInvalid):
        read_specification(_file(data))


def _search(data: bytes) -> None:
    with suppress(SearchInvalid):
        searches.read_specification(_file(data))


def _training_told(data: bytes) -> None:
    for read in (told.read_report, told.read_manifest):
        with suppress(ComparisonInvalid):
            read(_file(data))
    with suppress(ValueError, RecursionError):
        told.read_rows(data)


def _run_lengths(data: bytes) -> None:
    with suppress(ValueError):
        assert sum(run_lengths.decompress(data.decode("latin-1"), 3072)) >= 0


def _config(data: bytes) -> None:
    with suppress(ValidationError):
        TrainConfig.model_validate_json(data)


def _origin(data: bytes) -> None:
    with suppress(WeightsInvalid, InitialWeightsUnfit):
        initial_weights.read_origin(_file(data, "model.json"))


def _events(data: bytes) -> None:
    """Lines that are JSON but no events are the trainer's fault, and say so."""
    folder = _file(data, "events").with_suffix(".run")
    folder.parent.joinpath("events.jsonl").write_bytes(data + b"\n")
    with suppress(ValidationError):
        EventReader(folder.parent).read()


def _told(data: bytes) -> None:
    with suppress(Invalid):
        tus.told(data.decode("latin-1"))


def _checksum(data: bytes) -> None:
    with suppress(tus.ChecksumUnsupported):
        tus.Checksum(data.decode("latin-1"))


def _webhook(data: bytes) -> None:
    url = data.decode("utf-8", "surrogateescape")
    answers = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::ffff:10.0.0.1%3", 443, 0, 0))]
    with mock.patch("socket.getaddrinfo", return_value=answers):
        for allowed in (True, False):
            with suppress(outbound.TargetRefused):
                outbound.check_url(url, allow_private=allowed)


def _form(data: bytes) -> None:
    boundary, _, body = data.partition(b"\n")
    request = _request([(b"content-type", b"multipart/form-data; boundary=" + boundary)], body=body)

    async def read() -> None:
        async for _ in multipart(request, 10_000):
            pass

    with suppress(BodyMalformed, BodyTooLarge):
        anyio.run(read)


def _upload(data: bytes) -> None:
    """What is said about an archive, in the query or a form: a line each."""
    given = Given(is_json)
    with suppress(Invalid):
        for line in data.decode("utf-8", "replace").split("\n"):
            name, _, value = line.partition("=")
            given.add("query", name, value)
        given.checked(DatasetCreate)


def _accept(data: bytes) -> None:
    request = _request([(b"accept", data), (b"if-none-match", data)])
    negotiation.unchanged(request, '"x"')
    with suppress(NotAcceptable):
        negotiation.preferred(request, ["application/json", "image/png"])


def _range(data: bytes) -> None:
    with suppress(RangeNotSatisfiable):
        found = negotiation.asked_range(_request([(b"range", data)]), 1000, '"x"')
        assert found is None or 0 <= found[0] < found[1] <= 1000


def _metadata(data: bytes) -> None:
    with suppress(Invalid):
        anyio.run(metadata_filter, _request(query=data))


def _last_event(data: bytes) -> None:
    with suppress(Invalid):
        assert _event_number(data.decode("latin-1")) >= 0


def _thresholds(data: bytes) -> None:
    """A line for each time that the parameter is given."""
    card, given = ModelCard.model_validate(CARD), data.decode("utf-8", "replace").split("\n")
    with suppress(Invalid):
        assert all(0 <= least <= 1 for least in thresholds(card, given, None, None).values())
    with suppress(Invalid):
        assert thresholds(card, None, None, given).keys() <= {7, 40}


def _npy(values: dict[str, Any]) -> bytes:
    header = json.dumps(values).encode()
    return struct.pack("<Q", len(header)) + header


_FORM = (
    b'xyz\n--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n'
    b'Content-Type: application/zip\r\n\r\nPK\r\n--xyz\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    b"cells\r\n--xyz--\r\n"
)
_EVENTS = (
    b'{"type": "phase", "phase": "training"}\n{"type": "notice", "code": "x", "message": "y"}',
    b'{"type": "progress", "epoch": 1, "epochs": 2, "step": 3, "steps": 4}',
)
PARSERS = (
    Parser("archive", ("detector/data/archive.py",), (_zip({"a.json": b"{}", "b.jpg": b"x"}),), _archive),
    Parser(
        "COCO",
        ("detector/data/coco.py", "detector/data/objects.py"),
        (coco_members(1, 1)[TRAIN],),
        _dataset(coco_members(1, 1), TRAIN),
        examples=20,
    ),
    Parser(
        "VOC",
        ("detector/data/voc.py",),
        (voc_xml("img_0.jpg", voc_object()),),
        _dataset(voc_members(), XML),
        examples=20,
    ),
    Parser(
        "YOLO labels",
        ("detector/data/yolo.py", "detector/data/numbers.py"),
        (b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.1\n",),
        _dataset(yolo_members(), LABEL),
        examples=20,
    ),
    Parser(
        "YOLO YAML",
        ("detector/data/yolo.py",),
        (yolo_members()["data.yaml"],),
        _dataset(yolo_members(), "data.yaml"),
        examples=20,
    ),
    Parser(
        "image",
        ("detector/images.py",),
        (jpeg(), *(encoded(picture(), kind) for kind in ("PNG", "WEBP", "BMP"))),
        _image,
    ),
    Parser(
        "safetensors header",
        ("detector/safetensors_header.py",),
        (BACKBONE[:300], DETECTOR[:300], _npy({"x": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}})),
        _safetensors,
    ),
    Parser(
        "results JSON",
        ("detector/evaluate/results.py",),
        (b'[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]', b"[]"),
        _results,
    ),
    Parser(
        "comparison",
        ("detector/compare/specification.py",),
        (
            b'{"baseline": "a", "arms": [{"name": "a", "runs": [{"seed": 1, "folder": "1"}]},'
            b' {"name": "b", "runs": [{"seed": 1, "failed": "no"}]}]}',
        ),
        _comparison,
    ),
    Parser(
        "search",
        ("detector/search/specification.py",),
        (
            b'{"space": {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": true},'
            b' "batch_size": {"kind": "int", "low": 2, "high": 8, "step": 2},'
            b' "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]}}, "seed": 3, "count": 2}',
            b'{"space": {"loss": {"kind": "categorical", "choices": [1, null]}}, "trials":'
            b' [{"params": {"loss": 1}, "state": "pruned", "course": [[1, 0.2]]},'
            b' {"params": {"loss": null}, "state": "complete", "value": 0.3}]}',
        ),
        _search,
    ),
    Parser(
        "what a training told",
        ("detector/compare/told.py",),
        (
            b'{"split": "train", "step": 1, "epoch": 0.5, "metrics": {"loss": 2}}\n',
            b'{"data_order_sha256": "a", "device": {"type": "cpu"}, "processes": 1}',
            json.dumps(
                {
                    "images": 1,
                    "slices": [],
                    "suppression": {"with_candidate": 1, "lost_to_worse": 0},
                    "consistency": {
                        **dict.fromkeys(told.DIAGNOSTICS),
                        "matched": 0,
                        "histogram": [[0]],
                        "score_edges": [0, 1],
                        "iou_edges": [0, 1],
                    },
                }
            ).encode(),
        ),
        _training_told,
    ),
    Parser("run lengths", ("detector/run_lengths.py",), (b"0d1P3", b"\x60\x60"), _run_lengths),
    Parser(
        "training config",
        ("detector/config.py",),
        (b'{"epochs": 3, "optimizer": {"kind": "sgd", "lr": 0.01}}', b'{"loss": "harmonic"}'),
        _config,
    ),
    Parser(
        "origin of weights",
        ("detector/initial_weights.py", "detector/origins.py"),
        (json.dumps(CARD).encode(),),
        _origin,
    ),
    Parser("event lines", ("detector/events.py",), _EVENTS, _events),
    Parser("Upload-Metadata", ("api/tus.py",), (b"filename Y2VsbHMuemlw,private", b"a QQ=="), _told),
    Parser(
        "Upload-Checksum",
        ("api/tus.py",),
        (b"sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
        _checksum,
    ),
    Parser(
        "webhook URL",
        ("api/outbound.py",),
        (b"https://example.org:8443/hook?x=1", b"https://[::1%25lo]/", b"http://10.0.0.1"),
        _webhook,
    ),
    Parser("multipart form", ("api/bodies.py",), (_FORM,), _form),
    Parser(
        "parameters of an upload",
        ("api/receiving.py", "api/uploads.py", "api/imports.py", "api/detections.py"),
        (b'name=cells\nformat=coco\nsplit={"val_fraction": 0.2}\nmetadata={"a": "b"}',),
        _upload,
    ),
    Parser(
        "Accept and If-None-Match",
        ("api/negotiation.py",),
        (b"image/png;q=0.5, application/*", b'W/"x", *'),
        _accept,
    ),
    Parser("Range", ("api/negotiation.py",), (b"bytes=0-99", b"bytes=-5", b"bytes=900-"), _range),
    Parser("metadata filter", ("api/dependencies.py",), (b"metadata[a]=b&metadata%5Bc%5D=%F0",), _metadata),
    Parser("Host", ("api/origin.py",), (b"localhost:8000", b"[::1]:80", b"rebound.example"), is_local_name),
    Parser("Last-Event-ID", ("api/routes/jobs.py",), (b"12", b"\xb2"), _last_event),
    Parser(
        "classes and thresholds of a prediction",
        ("api/inference/thresholds.py",),
        (b"red,40", b"7\ngreen", b"0.5\nred:0.25\n40:1"),
        _thresholds,
    ),
)
