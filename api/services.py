"""What the routes work with, opened when the process starts and closed when it ends."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError

from api import kept
from api.following import Following
from api.inference.cache import ModelCache
from api.inference.load import load
from api.inference.pool import BoundedPool
from api.inference.preload import Preload
from api.kept import Kept
from api.postman import Postman
from api.rates import Rates
from api.settings import Settings, keys_required, server_secret
from api.streams import Streams
from detector.data.archive import Archive
from detector.data.catalogue import Catalogue
from store.blobs import Blobs, open_blobs
from store.caretaker import Caretaker
from store.errors import SettingsInvalid, Unavailable
from store.glance import Glances, glances
from store.queue import Hints
from store.sessions import Database, is_current
from store.uploads import Parts

# Images of datasets opened at a time, and more that may wait: each costs as much memory as it has pixels.
_PICTURE_THREADS = 2
_PICTURES_WAITING = 64


@dataclass(frozen=True)
class Services:
    """One of each, for the whole process."""

    settings: Settings
    database: Database
    glances: Glances
    blobs: Blobs
    parts: Parts
    catalogues: Kept[Catalogue]
    archives: Kept[Archive]
    reports: Kept[dict[str, Any]]
    pictures: BoundedPool
    hints: Hints
    models: ModelCache[tuple[str, str]]  # by project and id
    preload: Preload
    predictions: BoundedPool
    streams: Streams
    following: Following
    rates: Rates
    keys_required: bool
    secret: bytes | None = field(repr=False)
    """Under which keys are hashed; None where keys can be neither made nor checked."""


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """The services, the caretaker running. Raises `SettingsInvalid` when the database has another schema."""
    with ExitStack() as stack:
        require_current(settings.database_url)
        database = Database(settings.database_url)
        stack.callback(database.dispose)
        blobs = open_blobs(settings)
        hints = Hints(settings)
        stack.callback(hints.close)
        caretaker = Caretaker(database, hints, settings)
        caretaker.start()
        stack.callback(caretaker.stop)
        models = ModelCache[tuple[str, str]](
            lambda named: load(database, blobs, *named),
            most=settings.models_in_memory,
            most_bytes=settings.models_in_memory_bytes,
        )
        stack.callback(models.close)
        predictions = BoundedPool(settings.predict_threads, settings.predict_queue_limit)
        stack.callback(predictions.close)
        pictures = BoundedPool(_PICTURE_THREADS, _PICTURES_WAITING)
        stack.callback(pictures.close)
        streams = Streams(settings.event_streams_limit)
        following = Following(database, settings.event_poll_seconds)
        postman = Postman(database, allow_private=settings.webhooks_allow_private)
        postman.start()
        stack.callback(postman.stop)
        yield Services(
            settings,
            database,
            glances(database),
            blobs,
            Parts(settings.staging),
            kept.catalogues(blobs),
            kept.archives(blobs),
            kept.reports(blobs),
            pictures,
            hints,
            models,
            Preload(settings.preload_models, database, models),
            predictions,
            streams,
            following,
            Rates(settings.rate_limit),
            keys_required=keys_required(settings),
            secret=_secret(settings),
        )


def _secret(settings: Settings) -> bytes | None:
    if keys_required(settings) or settings.embedded or settings.secret is not None:
        return server_secret(settings)
    return None


def require_current(database_url: str) -> None:
    """Raise `SettingsInvalid` for a database without this version's tables, `Unavailable` when it is away."""
    try:
        current = is_current(database_url)
    except OperationalError as error:
        raise Unavailable from error
    if not current:
        raise SettingsInvalid(
            "the database of HARMONICDET_DATABASE_URL does not have the tables of this version: "
            "run `python -m store migrate` first (`harmonicdet up` does it by itself)"
        )
