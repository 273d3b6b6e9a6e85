"""Files of the service on their way here: gone on with after a break, and checked by their SHA-256."""

# Written by `make client` from asynchronous/downloading.py.

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from harmonicdet.client.errors import ConnectionFailed, DownloadCorrupt, StatusError
from harmonicdet.client.files import sha256_of
from harmonicdet.client.synchronous.backend import blocking
from harmonicdet.client.synchronous.transport import Transport

_FAILURES = 4


def download(
    transport: Transport,
    operation: str,
    path: Mapping[str, Any],
    target: Path,
    *,
    told: Callable[[int], None] | None = None,
) -> Path:
    """Fetch a file to `target`, which is there when it is whole; until then `target.part` grows.

    Raises `DownloadCorrupt`, and what asking raises.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        size = part.stat().st_size if part.exists() else 0
        # The last byte again: a part that is whole already is then no range outside of the file.
        start = max(0, size - 1)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with transport.stream(operation, path, headers=headers) as response:
                digest = _digest(response)
                is_rest = response.status_code == httpx.codes.PARTIAL_CONTENT
                with part.open("r+b" if is_rest else "wb") as file:
                    file.seek(start if is_rest else 0)
                    for chunk in response.iter_bytes(1 << 20):
                        blocking(file.write, chunk)
                        if told is not None:
                            told(file.tell())
            break
        except StatusError as error:
            if error.status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise
            part.unlink()  # of another file
        except httpx.TransportError as error:
            failures = 0 if part.exists() and part.stat().st_size > size else failures + 1
            if failures > _FAILURES:
                raise ConnectionFailed(f"The download of {target.name} broke ({error}).") from error
            transport.pause(failures)
    if digest is not None and blocking(sha256_of, part) != digest:
        part.unlink()
        raise DownloadCorrupt(f"{target.name} has another SHA-256 than the service says.")
    return part.replace(target)


def _digest(response: httpx.Response) -> str | None:
    """The SHA-256 of the whole file in hexadecimal digits, by Repr-Digest of the service itself."""
    told = [answer.headers.get("repr-digest", "") for answer in (*response.history, response)]
    found = next((one for one in told if one.startswith("sha-256=:")), None)
    return None if found is None else base64.b64decode(found[len("sha-256=:") : -1]).hex()
