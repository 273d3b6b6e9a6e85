"""News of jobs, for everybody in this process who follows one: the database is asked once for all of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anyio import to_thread
from fastapi.sse import format_sse_event

from api.schemas.jobs import EventView
from store.errors import JobNotFound
from store.following import news
from store.sessions import Database

_MOST = 100  # events of a job told at a time


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it goes out in a stream."""

    number: int
    chunk: bytes


def told(event: EventView) -> Told:
    """The event, written."""
    text = format_sse_event(data_str=event.model_dump_json(), event=event.type, id=str(event.id))
    return Told(event.id, text)


class Behind(Exception):
    """What was asked for has been told already, and is not kept."""


class Channel:
    """What is new of one job. Only what was told last is kept: who reads slowly asks the database."""

    def __init__(self, known: int) -> None:
        self.known = known
        """Number of the last event told."""
        self._before = known
        self._last: Sequence[Told] = ()
        self._over = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self.followers = 0

    def after(self, number: int) -> tuple[Sequence[Told], bool]:
        """The events after this one, and whether there will be no more.

        Raises `Behind`, and what has kept the database from being asked.
        """
        if self._error is not None:
            raise self._error
        if number < self._before:
            raise Behind
        return [one for one in self._last if one.number > number], self._over

    async def changes(self, seconds: float) -> bool:
        """Wait for something to be told, at most so long; whether it was."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def tell(self, events: Sequence[Told], *, over: bool) -> None:
        """These have happened after `known`."""
        self._before, self._last = self.known, events
        if events or over:
            self.known = events[-1].number if events else self.known
            self._over = over
            self._wake()

    def fail(self, error: Exception) -> None:
        """The followers get this error, and come back later."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Following:
    """Asks for the news of every job that is followed, as long as one is."""

    def __init__(self, database: Database, poll_seconds: float) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._channels: dict[str, Channel] = {}
        self._watching: asyncio.Task[None] | None = None

    def join(self, job_id: str, known: int) -> Channel:
        """The channel of a job. To be left again; its events up to `known` the caller has already."""
        channel = self._channels.setdefault(job_id, Channel(known))
        channel.followers += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        return channel

    def leave(self, job_id: str, channel: Channel) -> None:
        channel.followers -= 1
        if not channel.followers and self._channels.get(job_id) is channel:
            del self._channels[job_id]

    async def close(self) -> None:
        """Tell nothing any more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        try:
            while self._channels:
                await asyncio.sleep(self._poll_seconds)
                asked = dict(self._channels)
                known = {job_id: channel.known for job_id, channel in asked.items()}
                found = await to_thread.run_sync(self._ask, known)
                for job_id, channel in asked.items():
                    self._tell(job_id, channel, found.get(job_id, _NOTHING))
        except Exception as error:
            for channel in self._channels.values():
                channel.fail(error)
            self._channels.clear()
        finally:
            self._watching = None

    def _tell(self, job_id: str, channel: Channel, found: "_Found") -> None:
        if found.gone:
            channel.fail(JobNotFound())
        else:
            channel.tell(found.events, over=found.over)
        if (found.gone or found.over) and self._channels.get(job_id) is channel:
            # Should the job be retried, who follows it then has a channel of his own.
            del self._channels[job_id]

    def _ask(self, known: Mapping[str, int]) -> dict[str, "_Found"]:
        if not known:
            return {}
        with self._database.read() as session:
            return {
                job_id: _Found(
                    [told(EventView.of(row)) for row in one.events[:_MOST]],
                    over=one.over and len(one.events) <= _MOST,
                    gone=one.gone,
                )
                for job_id, one in news(session, known).items()
            }


@dataclass(frozen=True, slots=True)
class _Found:
    events: Sequence[Told]
    over: bool
    gone: bool


_NOTHING = _Found((), over=False, gone=False)
