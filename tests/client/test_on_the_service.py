"""The client on the real application behind a real server: uploads in parts, events, waiting, predictions."""

import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from harmonicdet import Client
from harmonicdet.client import (
    Conflict,
    DatasetInvalid,
    Invalid,
    JobFailed,
    NotFound,
    SearchFailed,
    WaitTimedOut,
)
from harmonicdet.client.synchronous.uploading import in_parts
from store import jobs
from store.tables import RequestedAction
from tests.api.conftest import app, in_process, migrated, server, settings
from tests.api.helpers import archive, encoded, picture, rejected, trained, validated
from tests.api.served import Served

__all__ = ["app", "in_process", "migrated", "server", "settings"]


class Breaking(httpx.BaseTransport):
    """Passes requests on; what `breaks` says of one breaks the connection after it was answered, unheard."""

    def __init__(self, breaks: Callable[[httpx.Request], bool]) -> None:
        self._breaks = breaks
        self._inner = httpx.HTTPTransport()
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        response = self._inner.handle_request(request)
        if self._breaks(request):
            response.close()
            raise httpx.ReadError("the connection broke", request=request)
        return response

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.port}", timeout=10, sleep=lambda _: None) as client:
        yield client


@contextmanager
def broken(server: Served, breaks: Callable[[httpx.Request], bool]) -> Iterator[tuple[Client, Breaking]]:
    transport = Breaking(breaks)
    url = f"http://127.0.0.1:{server.port}"
    with Client(url, sleep=lambda _: None, transport=transport) as client:
        yield client, transport


def once(wanted: Callable[[httpx.Request], bool]) -> Callable[[httpx.Request], bool]:
    """True for the first request that is wanted."""
    left = [True]

    def breaks(request: httpx.Request) -> bool:
        if left[0] and wanted(request):
            left[0] = False
            return True
        return False

    return breaks


def test_from_an_upload_to_a_picture(client: Client, server: Served, tmp_path: Path) -> None:
    dataset = client.datasets.upload(archive(), name="cells", metadata={"source": "a"})
    validated(server.services, dataset.raw)
    dataset = dataset.wait()
    assert dataset.status == "ready"
    assert [one.id for one in client.datasets.list(metadata={"source": "a"})] == [dataset.id]
    job = client.train(dataset, epochs=2, loss="harmonic", name="mine", metadata={"run": "1"})
    assert job.spec["config"] == {"epochs": 2, "loss": {"kind": "harmonic"}}
    trained(server.services, job.id)
    seen: list[str] = []
    job = job.wait(progress=lambda state: seen.append(state["status"]))
    assert seen == ["succeeded"]
    model = job.model()
    assert model.metrics["AP"] == 0.5
    found = model.predict(picture(), score_threshold=0.1)
    assert found.boxes.shape == (len(found), 4)
    assert np.allclose(found.boxes[0], [32, 16, 96, 64], atol=8)
    assert found.detections[0].class_name == "red"
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert found._repr_png_().startswith(b"\x89PNG")
    assert found.save(tmp_path / "drawn.jpg").read_bytes()[:2] == b"\xff\xd8"
    as_file = client.predict(
        model, io.BytesIO(encoded(picture())), score_threshold={"red": 0.1}, classes=["red"]
    )
    assert {one.class_name for one in as_file.detections} == {"red"}
    path = model.download("model.onnx", tmp_path)
    assert path.stat().st_size == next(one.bytes for one in model.artifacts if one.name == "model.onnx")
    client.aliases.put("production", model)
    assert client.models.get("production").id == model.id
    pictures = [picture(), picture(64, 64), picture()]
    sizes = [one.image.width for one in client.models.predict_each("production", pictures)]
    assert sizes == [128, 64, 128]
    with pytest.raises(Conflict):
        model.delete()


def test_a_download_that_broke_goes_on_where_it_was(client: Client, server: Served, tmp_path: Path) -> None:
    model = _model(client, server)
    whole = model.download("model.onnx", tmp_path / "a.onnx").read_bytes()
    (tmp_path / "b.onnx.part").write_bytes(whole[:100])
    assert model.download("model.onnx", tmp_path / "b.onnx").read_bytes() == whole
    (tmp_path / "b.onnx.part").write_bytes(whole + whole)
    assert model.download("model.onnx", tmp_path / "b.onnx").read_bytes() == whole
    (tmp_path / "c.onnx.part").write_bytes(b"x" * 100)
    with pytest.raises(Exception, match="SHA-256"):
        model.download("model.onnx", tmp_path / "c.onnx")
    assert not (tmp_path / "c.onnx.part").exists()


def test_a_request_whose_answer_is_lost_does_its_work_once(server: Served, client: Client) -> None:
    with broken(server, once(lambda request: request.method == "POST")) as (breaking, transport):
        dataset = breaking.datasets.upload(archive())
    posts = [request for request in transport.asked if request.method == "POST"]
    assert len(posts) == 2
    assert posts[0].headers["idempotency-key"] == posts[1].headers["idempotency-key"]
    assert [one.id for one in client.datasets.list()] == [dataset.id]


def test_an_upload_in_parts_goes_on_after_breaks_and_in_another_process(
    server: Served, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("noise", os.urandom(50_000))
    size = path.stat().st_size

    def told(offset: int, length: int) -> None:
        if offset >= 20_000:
            raise KeyboardInterrupt  # the program is killed

    with (
        broken(server, once(lambda request: request.method == "PATCH")) as (breaking, transport),
        pytest.raises(KeyboardInterrupt),
    ):
        in_parts(breaking.transport, path, told=told, part=10_000)
    # What had arrived of the part that broke was not sent again.
    offsets = [request.headers["upload-offset"] for request in transport.asked if request.method == "PATCH"]
    assert offsets == ["0", "10000"]
    seen: list[int] = []
    upload_id = in_parts(client.transport, path, told=lambda offset, _: seen.append(offset), part=10_000)
    assert seen[0] == 20_000
    assert seen[-1] == size
    dataset = client.datasets.get(
        client.transport.json("create_dataset", body={"upload_id": upload_id})["id"]
    )
    assert dataset.archive.bytes == size


def test_a_folder_becomes_the_same_archive_each_time(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(b"jpeg")
    (folder / ".DS_Store").write_bytes(b"no part of it")
    first, second = client.datasets.upload(folder), client.datasets.upload(str(folder))
    assert first.name == "cells"
    assert first.archive.sha256 == second.archive.sha256


def test_an_invalid_dataset_is_an_exception_with_its_report(client: Client, server: Served) -> None:
    dataset = client.datasets.upload(archive())
    rejected(server.services, dataset.raw)
    with pytest.raises(DatasetInvalid, match="no zip archive") as caught:
        dataset.wait()
    assert [one.code for one in client.datasets.report(caught.value.dataset)] == ["archive_broken"]


def test_waiting_ends_with_its_time_and_the_job_goes_on(client: Client, server: Served) -> None:
    job = _job(client, server)
    with pytest.raises(WaitTimedOut):
        job.wait(timeout=0)
    assert job.refresh().status == "queued"
    assert job.cancel().status == "cancelled"
    with pytest.raises(JobFailed, match="user_cancelled") as caught:
        job.wait()
    assert caught.value.job.id == job.id
    assert job.retry().status == "queued"


def test_events_are_followed_over_a_break_to_the_end_of_the_job(client: Client, server: Served) -> None:
    job = _job(client, server)

    def end(_: Any = None) -> None:
        server.services.database.run(
            lambda session: jobs.request(session, _project(client), job.id, RequestedAction.CANCEL)
        )

    timer = threading.Timer(0.2, end)
    timer.start()
    try:
        with broken(server, once(lambda request: request.url.path.endswith("/events"))) as (breaking, _):
            found = [(one.id, one.type) for one in breaking.jobs.events(job.id, follow=True)]
    finally:
        timer.join()
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert found[-1][1] == "job.cancelled"
    assert [(one.id, one.type) for one in job.events()] == found
    assert [one.id for one in job.events(after=1)] == [number for number, _ in found[1:]]


def test_lists_go_over_pages_and_end_where_they_are_told_to(client: Client) -> None:
    ids = [client.datasets.upload(archive(str(number)), name=f"set {number}").id for number in range(5)]
    pages = client.datasets.list(order="asc")
    pages._page = 2
    assert [one.id for one in pages] == ids
    assert [one.id for one in client.datasets.list(limit=3)] == ids[:1:-1]
    first = client.datasets.list().first()
    assert first is not None
    assert first.id == ids[-1]


def test_what_is_wrong_is_named_by_its_place(client: Client, server: Served) -> None:
    dataset = client.datasets.upload(archive())
    validated(server.services, dataset.raw)
    config: Any = {"epochs": 0, "batch": 3}
    with pytest.raises(Invalid) as caught:
        client.train(dataset, **config)
    assert {one.pointer for one in caught.value.errors} == {"/config/epochs", "/config/batch"}
    assert caught.value.request_id is not None
    assert "/config/batch" in str(caught.value)
    with pytest.raises(NotFound) as absent:
        client.jobs.get("job_01jz4m8x0v3s7q9k2b5c6d7e8f")
    assert absent.value.code == "job_not_found"
    assert client.plan(dataset, epochs=3).steps is not None


def test_a_search_is_asked_for_cancelled_and_begun_again(client: Client, server: Served) -> None:
    dataset = client.datasets.upload(archive())
    validated(server.services, dataset.raw)
    space: Any = {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}}
    search = client.search(dataset, space, config={"epochs": 2}, max_trials=4, pruning={"warmup_epochs": 1})
    assert (search.status, search.max_trials) == ("queued", 4)
    assert search.pruning == {"kind": "median", "startup_trials": 5, "warmup_epochs": 1}
    assert [one.id for one in client.searches.list(dataset=dataset)] == [search.id]
    assert search.pause().requested_action == "pause"
    assert search.resume().requested_action is None
    with pytest.raises(Conflict):
        search.delete()
    assert search.cancel().status == "cancelled"
    with pytest.raises(SearchFailed, match="cancelled"):
        search.wait()
    with pytest.raises(SearchFailed):
        search.model()
    assert search.retry().status == "queued"
    search.cancel().delete()
    with pytest.raises(NotFound):
        search.refresh()
    with pytest.raises(Invalid) as caught:
        client.search(dataset, {"optimizer.rate": space["optimizer.lr"]})
    assert [one.pointer for one in caught.value.errors] == ["/space/optimizer.rate"]


def _job(client: Client, server: Served) -> Any:
    dataset = client.datasets.upload(archive())
    validated(server.services, dataset.raw)
    return client.train(dataset, epochs=2)


def _model(client: Client, server: Served) -> Any:
    job = _job(client, server)
    trained(server.services, job.id)
    return job.wait().model()


def _project(client: Client) -> str:
    return client.me().project.id
