"""Lists of any length, of which a page at a time is fetched."""

# Written by `make client` from asynchronous/pages.py.

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from harmonicdet.client.shape import Shape

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.transport import Transport

T = TypeVar("T", bound=Shape)
_PAGE = 100


class Pages(Generic[T]):
    """Iterate over it: pages are fetched as they are needed, each time anew."""

    def __init__(
        self,
        transport: "Transport",
        operation: str,
        make: Callable[[dict[str, Any]], T],
        path: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        limit: int | None = None,
        page: int = _PAGE,
    ) -> None:
        self._transport = transport
        self._operation = operation
        self._make = make
        self._path = path
        self._query = dict(query or {})
        self._limit = limit
        self._page = page

    def __iter__(self) -> Iterator[T]:
        left = self._limit
        after: object = None
        while left is None or left > 0:
            page = self._fetch(after, left)
            for raw in page["data"] if left is None else page["data"][:left]:
                yield self._make(raw)
            if not page["has_more"]:
                return
            after = page["last_id"]
            left = None if left is None else left - len(page["data"])

    def first(self) -> T | None:
        """The first one; None of nothing."""
        for one in self:
            return one
        return None

    def head(self) -> dict[str, Any]:
        """What the service says beside the items, such as the `score_threshold` of an evaluation's images."""
        page = self._fetch(None, 1)
        return {name: value for name, value in page.items() if name != "data"}

    def _fetch(self, after: object, left: int | None) -> dict[str, Any]:
        limit = self._page if left is None else min(self._page, left)
        query = self._query | {"limit": limit} | ({} if after is None else {"after": after})
        page: dict[str, Any] = self._transport.json(self._operation, self._path, query=query)
        return page
