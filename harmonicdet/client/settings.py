"""What the client reads from the environment."""

import os
from typing import NamedTuple

DEFAULT_URL = "http://127.0.0.1:8000"


class Place(NamedTuple):
    """Where the service is, and the key to it."""

    url: str
    api_key: str | None


def place(url: str | None, api_key: str | None) -> Place:
    """What was given, else `HARMONICDET_URL` and `HARMONICDET_API_KEY`, else the service on this machine.

    The key of the environment belongs to the address of the environment: another one does not get it.
    """
    known = os.environ.get("HARMONICDET_URL") or DEFAULT_URL
    found = (url or known).rstrip("/")
    if api_key is None and found == known.rstrip("/"):
        api_key = os.environ.get("HARMONICDET_API_KEY") or None
    return Place(found, api_key)
