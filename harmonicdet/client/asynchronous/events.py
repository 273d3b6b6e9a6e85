"""The events of a job: those there are, and each as it happens (Server-Sent Events)."""

import json
from collections.abc import AsyncIterator

import httpx

from harmonicdet.client.asynchronous.transport import AsyncTransport
from harmonicdet.client.errors import ConnectionFailed
from harmonicdet.client.shapes import EventView

_FAILURES = 20  # one after another, without an event between them


async def follow(transport: AsyncTransport, job_id: str, after: int = 0) -> AsyncIterator[EventView]:
    """Every event after number `after`, until the job has ended; a broken stream is gone on with."""
    failures = 0
    while True:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        try:
            async with transport.stream("get_job_events", {"job_id": job_id}, headers=headers) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                async for data in _messages(response.aiter_bytes()):
                    event = EventView(json.loads(data))
                    after, failures = event.id, 0
                    yield event
        except httpx.TransportError as error:
            failures += 1
            if failures > _FAILURES:
                raise ConnectionFailed(f"The events of {job_id} broke off ({error}).") from error
            await transport.pause(min(failures, 4))


async def _messages(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each message. A line ends with a line feed only: others may stand in the text itself."""
    buffer = b""
    data: list[bytes] = []
    async for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []
