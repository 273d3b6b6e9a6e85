"""Answers that can be asked for more: they know their client."""

# Written by `make client` from asynchronous/bound.py.

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmonicdet.client.shape import Shape

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.client import Client


class Bound(Shape):
    """A thing of the service as it was when it was read, and what can be done with it."""

    id: str

    def __init__(self, raw: Mapping[str, Any], client: "Client") -> None:
        super().__init__(raw)
        self._client = client


class Resource:
    """One collection of the service."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._transport = client.transport
