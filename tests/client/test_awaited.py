"""The asynchronous client on the real application behind a real server."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from harmonicdet import AsyncClient
from harmonicdet.client import ConnectionFailed, JobFailed, NotFound, WaitTimedOut
from harmonicdet.client.asynchronous.backend import each
from harmonicdet.client.asynchronous.uploading import in_parts
from store import jobs
from store.tables import RequestedAction
from tests.api.conftest import app, in_process, migrated, server, settings
from tests.api.helpers import archive, picture, trained, validated
from tests.api.served import Served

__all__ = ["app", "in_process", "migrated", "server", "settings"]


class Breaking(httpx.AsyncBaseTransport):
    """Passes requests on; the first answer to a `method` is lost on its way."""

    def __init__(self, method: str) -> None:
        self._method: str | None = method
        self._inner = httpx.AsyncHTTPTransport()
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        response = await self._inner.handle_async_request(request)
        if request.method == self._method:
            self._method = None
            await response.aclose()
            raise httpx.ReadError("the connection broke", request=request)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def at_once(_: float) -> None:
    """No waiting between retries."""
    await asyncio.sleep(0)


@pytest.fixture
def url(server: Served) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_from_an_upload_to_a_picture(url: str, server: Served, tmp_path: Path) -> None:
    async def whole() -> None:
        async with AsyncClient(url, timeout=10, sleep=at_once) as client:
            dataset = await client.datasets.upload(archive(), name="cells")
            validated(server.services, dataset.raw)
            dataset = await dataset.wait()
            assert [one.id async for one in client.datasets.list()] == [dataset.id]
            job = await client.train(dataset, epochs=2, loss="harmonic")
            trained(server.services, job.id)
            seen: list[str] = []
            done = await job.wait(progress=lambda state: seen.append(state["status"]))
            assert seen == ["succeeded"]
            assert [one.type async for one in done.events(follow=True)][-1] == "job.succeeded"
            model = await done.model()
            prediction = await model.predict(picture(), score_threshold=0.1)
            assert prediction.boxes.shape == (len(prediction), 4)
            assert not hasattr(prediction, "_repr_png_")
            assert (await prediction.save(tmp_path / "drawn.png")).read_bytes()[:4] == b"\x89PNG"
            path = await model.download("model.onnx", tmp_path)
            assert path.stat().st_size == next(
                one.bytes for one in model.artifacts if one.name == "model.onnx"
            )
            pictures = [picture(), picture(64, 64), picture()]
            found = client.models.predict_each(model, pictures)
            assert [one.image.width async for one in found] == [128, 64, 128]
            models = await asyncio.gather(*(client.models.get(model.id) for _ in range(10)))
            assert {one.id for one in models} == {model.id}
            first = await client.jobs.list(kind="train").first()
            assert first is not None
            assert first.id == job.id

    asyncio.run(whole())


def test_an_upload_in_parts_goes_on_after_a_break(url: str, tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    path.write_bytes(os.urandom(25_000))
    transport = Breaking("PATCH")

    async def upload() -> str:
        async with AsyncClient(url, sleep=at_once, transport=transport) as client:
            return await in_parts(client.transport, path, part=10_000)

    assert asyncio.run(upload()).startswith("upl_")
    # What had arrived of the part that broke was not sent again.
    offsets = [request.headers["upload-offset"] for request in transport.asked if request.method == "PATCH"]
    assert offsets == ["0", "10000", "20000"]


def test_a_request_whose_answer_is_lost_does_its_work_once(url: str) -> None:
    transport = Breaking("POST")

    async def upload() -> list[str]:
        async with AsyncClient(url, sleep=at_once, transport=transport) as client:
            await client.datasets.upload(archive())
            return [one.id async for one in client.datasets.list()]

    assert len(asyncio.run(upload())) == 1
    keys = [one.headers["idempotency-key"] for one in transport.asked if one.method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_two_wait_for_two_jobs_while_a_third_cancels_them(url: str, server: Served) -> None:
    async def whole() -> list[object]:
        async with AsyncClient(url, timeout=10) as client:
            dataset = await client.datasets.upload(archive())
            validated(server.services, dataset.raw)
            begun = [await client.train(dataset, epochs=2) for _ in range(2)]
            with pytest.raises(WaitTimedOut):
                await begun[0].wait(timeout=0)
            waiting = [asyncio.create_task(job.wait()) for job in begun]
            project = (await client.me()).project.id
            for job in begun:
                cancel = partial(
                    jobs.request, project_id=project, job_id=job.id, action=RequestedAction.CANCEL
                )
                server.services.database.run(cancel)
            return list(await asyncio.gather(*waiting, return_exceptions=True))

    assert [type(one) for one in asyncio.run(whole())] == [JobFailed, JobFailed]


def test_what_is_wrong_is_raised_as_by_the_other_client(url: str) -> None:
    async def whole() -> None:
        async with AsyncClient(url, retries=0) as client:
            with pytest.raises(NotFound) as absent:
                await client.jobs.get("job_01jz4m8x0v3s7q9k2b5c6d7e8f")
            assert absent.value.code == "job_not_found"
        async with AsyncClient("http://127.0.0.1:9", retries=0) as nobody:
            with pytest.raises(ConnectionFailed, match="Nobody answers"):
                await nobody.health()

    asyncio.run(whole())


def test_so_many_are_asked_at_once_and_no_more_and_the_rest_is_left_when_nobody_listens() -> None:
    running: set[int] = set()
    most, ended = 0, []

    async def ask(number: int) -> int:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        await asyncio.sleep(0.001 * (3 - number % 3))
        running.remove(number)
        ended.append(number)
        return number

    async def whole() -> None:
        assert [one async for one in each(ask, range(20), at_once=3)] == list(range(20))
        assert most == 3
        ended.clear()
        found: AsyncIterator[int] = each(ask, range(100), at_once=2)
        assert await anext(found) == 0
        await found.aclose()  # type: ignore[attr-defined]  # a generator, though its type tells less
        await asyncio.sleep(0.02)
        assert len(ended) < 10

    asyncio.run(whole())
