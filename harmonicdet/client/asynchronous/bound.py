"""Answers that can be asked for more: they know their client."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmonicdet.client.shape import Shape

if TYPE_CHECKING:
    from harmonicdet.client.asynchronous.client import AsyncClient


class AsyncBound(Shape):
    """A thing of the service as it was when it was read, and what can be done with it."""

    id: str

    def __init__(self, raw: Mapping[str, Any], client: "AsyncClient") -> None:
        super().__init__(raw)
        self._client = client


class AsyncResource:
    """One collection of the service."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client
        self._transport = client.transport
