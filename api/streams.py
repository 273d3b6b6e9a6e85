"""The events of a job as Server-Sent Events: everything after a given number, then each as it happens."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from anyio import to_thread

from api.errors import Overloaded
from api.following import Behind, Channel, Following, told
from api.schemas.jobs import EventView
from store import jobs
from store.sessions import Database
from store.tables import FINISHED

MEDIA_TYPE = "text/event-stream"
_PAGE = 100
_KEEP_ALIVE_SECONDS = 15.0


class Streams:
    """Counts the streams that are open, for each holds a connection and a little memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    def check(self) -> None:
        """Raise `Overloaded` when no more streams may be opened."""
        if self._open >= self._limit:
            raise Overloaded("Too many event streams are open; poll the job instead.", retry_after=5)

    @property
    def open(self) -> int:
        """How many are open."""
        return self._open

    @contextmanager
    def counted(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


@dataclass(frozen=True)
class EventPage:
    """Events of a job after a number. `over`: it has finished and there will be no more after these."""

    events: list[EventView]
    has_more: bool
    over: bool


def read_events(
    database: Database, project_id: str, job_id: str, after: int, limit: int = _PAGE
) -> EventPage:
    """Raises `JobNotFound`."""
    with database.read() as session:
        # The status first: whatever ended the job wrote its event in the same transaction.
        finished = jobs.get(session, project_id, job_id).status in FINISHED
        page = jobs.events(session, project_id, job_id, after=after, limit=limit)
        events = [EventView.of(row) for row in page.items]
    return EventPage(events, page.has_more, finished and not page.has_more)


async def event_stream(
    read: Callable[[int], EventPage],
    first: EventPage,
    after: int,
    *,
    job_id: str,
    following: Following,
    streams: Streams,
) -> AsyncIterator[bytes]:
    """The stream: `first` is what `read(after)` has given. Ends after the event that ended the job.

    It reads for itself until it has caught up, and again when its client was slow; in between it is told.
    """
    with streams.counted(), ExitStack() as stack:
        channel: Channel | None = None
        page = first
        while True:
            for event in page.events:
                after = event.id
                yield told(event).chunk
            if page.over:
                return
            if not page.has_more:
                if channel is None:
                    channel = following.join(job_id, after)
                    stack.callback(following.leave, job_id, channel)
                with suppress(Behind):
                    while True:
                        events, over = channel.after(after)
                        for one in events:
                            after = one.number
                            yield one.chunk
                        if over and after >= channel.known:
                            return
                        # Proxies close what is silent, and that a client has gone shows when it is
                        # written to.
                        if after >= channel.known and not await channel.changes(_KEEP_ALIVE_SECONDS):
                            yield b": still here\n\n"
            page = await to_thread.run_sync(read, after)
