"""Many who follow jobs are served by one who asks."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import delete

from api import following as module
from api.following import Following
from api.settings import Settings
from api.streams import EventPage, Streams, event_stream, read_events
from store import jobs
from store.errors import JobNotFound
from store.following import news
from store.jobs import Claim
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Job, RequestedAction
from tests.store.helpers import do, queue_training, running_training


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url)
    yield database
    database.dispose()


class Follower:
    """Reads the stream of a job, as fast as the test lets it."""

    def __init__(self, database: Database, following: Following, streams: Streams, job_id: str) -> None:
        self.reads = 0
        self.chunks: list[bytes] = []

        def read(after: int) -> EventPage:
            self.reads += 1
            return read_events(database, DEFAULT_PROJECT, job_id, after)

        self._stream = event_stream(read, read(0), 0, job_id=job_id, following=following, streams=streams)

    @property
    def numbers(self) -> list[int]:
        return [int(chunk.split(b"id: ")[1].split(b"\n")[0]) for chunk in self.chunks]

    async def take(self, count: int) -> None:
        for _ in range(count):
            self.chunks.append(await anext(self._stream))

    async def to_the_end(self) -> None:
        async for chunk in self._stream:
            self.chunks.append(chunk)

    async def leave(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]


def drop(database: Database, job_id: str) -> None:
    with database.begin() as session:
        session.execute(delete(Job).where(Job.id == job_id))


async def write(database: Database, claim: Claim, count: int) -> None:
    def happen() -> None:
        with database.begin() as session:
            for _ in range(count):
                jobs.append_event(session, claim, "notice", {})

    await asyncio.to_thread(happen)


def test_many_followers_cost_one_question_each_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [running_training(database) for _ in range(3)]
    asked: list[int] = []

    def counted(*arguments: object) -> object:
        asked.append(len(arguments[1]))  # type: ignore[arg-type]
        return news(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "news", counted)

    async def run() -> list[Follower]:
        following, streams = Following(database, 0.02), Streams(100)
        followers = [Follower(database, following, streams, c.job_id) for c in claims for _ in range(20)]
        reading = [asyncio.create_task(follower.to_the_end()) for follower in followers]
        for _ in range(5):
            for claim in claims:
                await write(database, claim, 2)
        for claim in claims:
            await asyncio.to_thread(do, database, jobs.succeed, claim)
        await asyncio.wait_for(asyncio.gather(*reading), 60)
        assert streams.open == 0
        for _ in range(100):
            if following._watching is None:
                break
            await asyncio.sleep(0.02)
        assert following._watching is None  # nobody follows: nobody asks
        return followers

    for follower in asyncio.run(run()):
        assert follower.numbers == list(range(1, 14))
        assert follower.reads <= 3
    assert max(asked) == 3  # jobs, not followers


def test_a_slow_reader_misses_nothing_and_nothing_is_kept_for_it(database: Database) -> None:
    claim = running_training(database)

    async def run() -> None:
        following, streams = Following(database, 0.02), Streams(100)
        slow, quick = (Follower(database, following, streams, claim.job_id) for _ in range(2))
        await slow.take(2)
        reading = asyncio.create_task(quick.to_the_end())
        await write(database, claim, 1)
        await slow.take(1)  # it is told now, then does not read for long
        for number in range(1, 5):
            await write(database, claim, 90)
            while len(quick.chunks) < 3 + 90 * number:
                await asyncio.sleep(0.02)
        (channel,) = following._channels.values()
        assert len(channel._last) <= 100
        reads = slow.reads
        await asyncio.to_thread(do, database, jobs.succeed, claim)
        await asyncio.wait_for(slow.to_the_end(), 60)
        await asyncio.wait_for(reading, 60)
        assert slow.numbers == quick.numbers == list(range(1, 365))
        assert slow.reads > reads

    asyncio.run(run())


def test_more_at_once_than_are_told_at_a_time_come_one_after_the_other(database: Database) -> None:
    claim = running_training(database)

    async def run() -> Sequence[int]:
        following = Following(database, 0.02)
        follower = Follower(database, following, Streams(1), claim.job_id)
        await follower.take(2)
        reading = asyncio.create_task(follower.to_the_end())
        await asyncio.sleep(0.05)
        await write(database, claim, 250)
        await asyncio.to_thread(do, database, jobs.succeed, claim)
        await asyncio.wait_for(reading, 60)
        return follower.numbers

    assert asyncio.run(run()) == list(range(1, 254))


def test_who_comes_later_gets_everything_too(database: Database) -> None:
    claim = running_training(database)

    async def run() -> None:
        following, streams = Following(database, 0.02), Streams(100)
        first = Follower(database, following, streams, claim.job_id)
        reading = [asyncio.create_task(first.to_the_end())]
        await write(database, claim, 3)
        while len(first.chunks) < 5:
            await asyncio.sleep(0.01)
        second = Follower(database, following, streams, claim.job_id)
        reading.append(asyncio.create_task(second.to_the_end()))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(do, database, jobs.succeed, claim)
        await asyncio.wait_for(asyncio.gather(*reading), 60)
        assert first.numbers == second.numbers == list(range(1, 7))

    asyncio.run(run())


def test_a_job_that_is_gone_and_a_database_that_is_away_end_the_stream(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, followed = queue_training(database).id, queue_training(database).id

    async def run() -> None:
        following, streams = Following(database, 0.02), Streams(100)
        one, other = (Follower(database, following, streams, job_id) for job_id in (gone, followed))
        await one.take(1)
        await other.take(1)
        waiting = asyncio.create_task(other.take(1))
        await asyncio.to_thread(drop, database, gone)
        with pytest.raises(JobNotFound):
            await asyncio.wait_for(one.take(1), 60)

        def away(*_: object) -> None:
            raise OSError("away")

        monkeypatch.setattr(module, "news", away)
        with pytest.raises(OSError, match="away"):
            await asyncio.wait_for(waiting, 60)
        assert streams.open == 0
        # The next one is served again.
        monkeypatch.setattr(module, "news", news)
        third = Follower(database, following, streams, followed)
        reading = asyncio.create_task(third.to_the_end())
        await asyncio.to_thread(do, database, jobs.request, DEFAULT_PROJECT, followed, RequestedAction.CANCEL)
        await asyncio.wait_for(reading, 60)
        assert third.numbers == [1, 2]
        await following.close()

    asyncio.run(run())
