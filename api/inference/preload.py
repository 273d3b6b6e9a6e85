"""Models that are in memory before the first of them is asked for."""

import logging
from collections.abc import Iterator

from anyio import to_thread

from api.inference.cache import ModelCache
from store import models
from store.sessions import Database
from store.tables import DEFAULT_PROJECT

_logger = logging.getLogger(__name__)


class StillLoading(Exception):
    """Models that are to be there from the start are being loaded."""


class Preload:
    """Loads some models, one after the other.

    One that is not there is told in the log and is no fault of the process: an alias may come to mean a model
    later. More models than the cache keeps make room for each other.
    """

    def __init__(self, wanted: str, database: Database, cache: ModelCache[tuple[str, str]]) -> None:
        """`wanted` are ids or aliases, as `HARMONICDET_PRELOAD_MODELS` has them."""
        self._wanted = list(_named(wanted))
        self._database = database
        self._cache = cache
        self._over = not self._wanted

    async def run(self) -> None:
        """Ends when every model has been tried."""
        for project, reference in self._wanted:
            try:
                model_id = await to_thread.run_sync(self._resolved, project, reference)
                await self._cache.get((project, model_id))
            except Exception:
                _logger.exception("%s of %s cannot be loaded", reference, project)
        self._over = True

    def check(self) -> None:
        """Raise `StillLoading` until every model has been tried."""
        if not self._over:
            raise StillLoading

    def _resolved(self, project: str, reference: str) -> str:
        with self._database.read() as session:
            return models.with_graph(session, project, reference).id


def _named(wanted: str) -> Iterator[tuple[str, str]]:
    """Project and reference of each."""
    for one in wanted.split(","):
        project, _, reference = one.strip().rpartition("/")
        if reference:
            yield project or DEFAULT_PROJECT, reference
