"""What was read of blobs, kept: indexes and archives of datasets, and reports of evaluations.

They are known by their content, so that what is kept never grows old.
"""

import mmap
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

import orjson

from detector.data import catalogue
from detector.data.archive import Archive, open_archive
from detector.data.catalogue import Catalogue
from store.blobs import Blobs
from store.errors import Unavailable

T = TypeVar("T")
_CATALOGUES_BYTES = 128 << 20
_ARCHIVES_MEMBERS = 250_000
_REPORTS_BYTES = 64 << 20  # parsed, they take some times that


class Kept(Generic[T]):
    """Least-recently-used cache by blob key of what together costs at most `most`; used from threads.

    The last one used always stays. Two that ask for the same one wait for one load, and nobody else does.
    """

    def __init__(self, load: Callable[[str], T], cost: Callable[[T], int], most: int) -> None:
        self._load = load
        self._cost = cost
        self._most = most
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._loading: dict[str, Lock] = {}
        self._lock = Lock()

    def get(self, key: str) -> T:
        """What `load(key)` gives. Raises what it raises."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            loading = self._loading.setdefault(key, Lock())
        with loading:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            try:
                found = self._load(key)
                with self._lock:
                    self._keep(key, found)
            finally:
                with self._lock:
                    self._loading.pop(key, None)
        return found

    def _keep(self, key: str, found: T) -> None:
        self._kept[key] = found
        # Who still uses what makes room goes on with it; the last reference closes a file.
        while len(self._kept) > 1 and sum(map(self._cost, self._kept.values())) > self._most:
            self._kept.popitem(last=False)


def catalogues(blobs: Blobs) -> Kept[Catalogue]:
    """By the key of the index."""

    def load(key: str) -> Catalogue:
        if blobs.local_path(key) is None:
            with blobs.open(key) as file:
                return catalogue.read(file.read())
        with blobs.open(key) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as index:
            return catalogue.read(index)

    return Kept(load, lambda one: one.nbytes, _CATALOGUES_BYTES)


def reports(blobs: Blobs) -> Kept[dict[str, Any]]:
    """Reports of evaluations (`detector.evaluate.report`), by the key of the JSON."""

    def load(key: str) -> dict[str, Any]:
        with blobs.open(key) as file:
            found: dict[str, Any] = orjson.loads(file.read())
        return found

    # A report is as large as its curves and its confusion matrix.
    def cost(report: dict[str, Any]) -> int:
        classes = len(report["classes"])
        return 10_000 + 6_000 * classes + 2 * classes * classes

    return Kept(load, cost, _REPORTS_BYTES)


def archives(blobs: Blobs) -> Kept[Archive]:
    """By the key of the zip."""

    def load(key: str) -> Archive:
        path = blobs.local_path(key)
        return open_archive(blobs.open(key) if path is None else path, passes=(Unavailable,))

    return Kept(load, lambda one: len(one.members), _ARCHIVES_MEMBERS)
