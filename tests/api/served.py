"""The application behind a real uvicorn, in a thread."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import uvicorn
from fastapi import FastAPI

from api.services import Services


@dataclass(frozen=True)
class Served:
    """Where it listens, and what it works with."""

    port: int
    client: httpx2.Client
    services: Services

    def connect(self) -> socket.socket:
        """A bare connection, for what no client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@contextmanager
def serve(app: FastAPI) -> Iterator[Served]:
    """Runs until the block ends."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        give_up = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < give_up
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield Served(port, client, app.state.services)
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
