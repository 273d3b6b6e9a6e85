"""Deletes the blobs that nothing refers to any more: of dead attempts, deleted models, old checkpoints.

A blob is put before the row that refers to it is committed. So nothing that was put within the grace period
is taken, the blobs are listed before the rows are read, and each is looked for in the rows once more right
before it goes. What refers to blobs is every column of `store.tables` marked with `BLOB`.
"""

import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from store import checkpoints, chores, idempotency, uploads, workers
from store.blobs import Blobs, Entry, open_blobs
from store.errors import BlobNotFound, BlobsForeign, ChoreTaken
from store.rows import insert_into
from store.sessions import Database
from store.settings import StoreSettings
from store.tables import Base, Checkpoint, Chore, Job, JobStatus

logger = logging.getLogger(__name__)

CHORE = "collect"
HELD_SECONDS = 600.0
IDENTITY = "identity"  # key of the blob that says whose the blobs are
_AT_ONCE = 100
# What a table's blobs are called where bytes are counted.
_KINDS = {
    "dataset": "datasets",
    "checkpoint": "checkpoints",
    "job": "checkpoints",
    "artifact": "artifacts",
    "evaluation_file": "artifacts",
    "comparison_file": "artifacts",
}


@dataclass(frozen=True)
class OldCheckpoint:
    """A checkpoint that is neither one of the last two nor the best, nor the one to go on from."""

    job_id: str
    step: int
    key: str
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What would be deleted."""

    unreferenced: tuple[Entry, ...] = ()
    dead_attempts: tuple[Entry, ...] = ()  # of attempts that are over, below `jobs/{job}/{token}/`
    old_checkpoints: tuple[OldCheckpoint, ...] = ()
    grace_seconds: float = 0.0

    @property
    def bytes(self) -> int:
        return sum(sort["bytes"] for sort in self.summary().values())

    def summary(self) -> dict[str, Any]:
        """Blobs and bytes of each sort."""
        sorts: dict[str, tuple[Entry, ...] | tuple[OldCheckpoint, ...]] = {
            "unreferenced": self.unreferenced,
            "dead_attempts": self.dead_attempts,
            "old_checkpoints": self.old_checkpoints,
        }
        return {
            name: {"blobs": len(items), "bytes": sum(item.bytes for item in items)}
            for name, items in sorts.items()
        }


@dataclass(frozen=True)
class Usage:
    """Bytes of the blobs by what refers to them; a blob that several things share is counted once."""

    datasets: int = 0
    checkpoints: int = 0
    artifacts: int = 0
    other: int = 0
    unreferenced: int = 0


def plan(database: Database, blobs: Blobs, *, grace_seconds: float) -> Plan:
    """What could be deleted now. Raises `BlobsForeign`."""
    found = [entry for entry in blobs.entries() if entry.age_seconds > grace_seconds]
    with database.read() as session:
        referenced = _referenced(session)
        if not _are_ours(session, blobs, referenced):
            return Plan(grace_seconds=grace_seconds)
        running = {
            f"jobs/{row.id}/{row.token}"
            for row in session.execute(select(Job.id, Job.token).where(Job.status == JobStatus.RUNNING))
        }
        many = session.scalars(
            select(Checkpoint.job_id).group_by(Checkpoint.job_id).having(func.count() > checkpoints.KEPT)
        ).all()
        old = [
            OldCheckpoint(job_id, row.step, row.blob, row.bytes)
            for job_id in many
            for row in checkpoints.superfluous(session, job_id)
        ]
    free = [entry for entry in found if entry.key not in referenced and entry.key != IDENTITY]
    return Plan(
        unreferenced=tuple(entry for entry in free if not entry.key.startswith("jobs/")),
        dead_attempts=tuple(
            entry
            for entry in free
            if entry.key.startswith("jobs/") and entry.key.rpartition("/")[0] not in running
        ),
        old_checkpoints=tuple(old),
        grace_seconds=grace_seconds,
    )


def collect(database: Database, blobs: Blobs, planned: Plan, *, held: "Held | None" = None) -> dict[str, Any]:
    """Delete what was planned and may still go; blobs and bytes of each sort that went."""
    held = held or Held()
    gone = {name: {"blobs": 0, "bytes": 0} for name in ("unreferenced", "dead_attempts", "old_checkpoints")}

    def count(name: str, size: int) -> None:
        gone[name]["blobs"] += 1
        gone[name]["bytes"] += size

    for job_id in dict.fromkeys(item.job_id for item in planned.old_checkpoints):
        held.check()
        for row in database.run(lambda session, job_id=job_id: _forget_old(session, job_id)):  # type: ignore[misc]
            blobs.delete(row.blob)
            count("old_checkpoints", row.bytes)
    sorts = (("unreferenced", planned.unreferenced), ("dead_attempts", planned.dead_attempts))
    for name, entries in sorts:
        for some in _batches(entries):
            held.check()
            with database.read() as session:
                wanted = _wanted(session, [entry.key for entry in some])
            for entry in some:
                if entry.key not in wanted and blobs.discard(
                    entry.key, older_than_seconds=planned.grace_seconds
                ):
                    count(name, entry.bytes)
    return gone


def usage(database: Database, blobs: Blobs) -> Usage:
    """How many bytes there are of what."""
    entries = list(blobs.entries())
    with database.read() as session:
        referenced = _referenced(session)
    counts: dict[str, int] = {}
    for entry in entries:
        kind = referenced.get(entry.key, "unreferenced")
        if entry.key != IDENTITY:
            counts[kind] = counts.get(kind, 0) + entry.bytes
    return Usage(**counts)


@dataclass
class Held:
    """The chore while we have it; without a database, of nobody else's concern."""

    database: Database | None = None
    holder: str = field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    )

    def check(self) -> None:
        """Raises `ChoreTaken` when it took too long and is another's now."""
        if self.database is not None and not self.database.run(
            lambda session: chores.extend(session, CHORE, holder=self.holder, seconds=HELD_SECONDS),
            repeatable=True,
        ):
            raise ChoreTaken


def run(database: Database, blobs: Blobs, settings: StoreSettings, *, now: bool = True) -> dict[str, Any]:
    """Plan and collect, as the only process that does.

    Raises `ChoreTaken` when another is at it or, unless it has to be `now`, it is not due; `BlobsForeign`.
    """
    with _alone(database, settings, now=now) as (held, outcome):
        adopt(database, blobs)
        blobs.sweep()
        planned = plan(database, blobs, grace_seconds=settings.collect_grace_seconds)
        outcome.update(collect(database, blobs, planned, held=held))
        forgotten = database.run(workers.forget_silent)
        database.run(idempotency.forget_old)
        if any(sort["blobs"] for sort in outcome.values()) or forgotten:
            logger.info("collected %s; forgot %d silent workers", outcome, len(forgotten))
    return outcome


@contextmanager
def _alone(
    database: Database, settings: StoreSettings, *, now: bool
) -> Iterator[tuple[Held, dict[str, Any]]]:
    held = Held(database)
    outcome: dict[str, Any] = {}
    taken = database.run(
        lambda session: chores.take(session, CHORE, holder=held.holder, seconds=HELD_SECONDS, now=now)
    )
    if not taken:
        raise ChoreTaken
    try:
        yield held, outcome
    finally:
        again = settings.collect_seconds * random.uniform(0.8, 1.2)
        database.run(
            lambda session: chores.done(
                session, CHORE, holder=held.holder, again_in_seconds=again, outcome=outcome
            ),
            repeatable=True,
        )


class Collector:
    """Runs `run` in the background when it is due, in whichever process notices first."""

    def __init__(self, database: Database, settings: StoreSettings) -> None:
        self._database = database
        self._settings = settings
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Until `stop`, or until the process ends; does nothing where the setting is 0."""
        if self._thread is None and self._settings.collect_seconds > 0:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
            self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Return once the thread has ended, or after the time-out."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.collect_seconds * random.uniform(0.1, 0.5)):
            try:
                run(self._database, open_blobs(self._settings), self._settings, now=False)
                # The blobs have been seen to be ours, and so are the unfinished uploads among them.
                uploads.collect(self._database, uploads.Parts(self._settings.staging), strays=True)
            except ChoreTaken:
                continue  # not due, or another process is at it
            except Exception as error:
                logger.warning("blobs could not be collected: %s: %s", type(error).__name__, error)


# Whose the blobs are


def adopt(database: Database, blobs: Blobs) -> None:
    """Mark the blobs as this database's, the first time that it refers to any of them.

    A database and blobs that do not belong together, as after a wrong setting, must never meet a collector.
    Raises `BlobsForeign`.
    """
    with database.read() as session:
        known, referenced = _known(session), _referenced(session)
        if not _are_ours(session, blobs, referenced) or _marked(blobs) is not None:
            return
    identity = known or secrets.token_hex(16)
    if known is None:
        database.run(lambda session: _remember(session, identity))
    blobs.put_bytes(identity.encode(), key=IDENTITY)


def _are_ours(session: Session, blobs: Blobs, referenced: dict[str, str]) -> bool:
    """Whether they are known to be; False when that has not been settled yet. Raises `BlobsForeign`."""
    marked = _marked(blobs)
    if marked is None:
        return any(blobs.exists(key) for key in referenced)
    if marked != _known(session):
        raise BlobsForeign(
            "The blobs belong to another database: HARMONICDET_DATABASE_URL and HARMONICDET_BLOBS (or "
            "HARMONICDET_DATA) do not belong together. Nothing is collected. If they do, remove the file "
            f"`{IDENTITY}` from the blobs and the row `blobs` from the table `chore`."
        )
    return True


def _marked(blobs: Blobs) -> str | None:
    try:
        with blobs.open(IDENTITY) as file:
            return file.read().decode()
    except BlobNotFound:
        return None


def _known(session: Session) -> str | None:
    outcome = chores.outcome(session, "blobs")
    return None if outcome is None else str(outcome["identity"])


def _remember(session: Session, identity: str) -> None:
    row = {"name": "blobs", "holder": "", "held_until": 0.0, "due_at": 0.0, "outcome": {"identity": identity}}
    session.execute(insert_into(session, Chore).values(row))


# What refers to blobs


def columns() -> list[InstrumentedAttribute[Any]]:
    """Every column that holds keys of blobs."""
    return [
        getattr(mapper.class_, attribute.key)
        for mapper in Base.registry.mappers
        for attribute in mapper.column_attrs
        if attribute.columns[0].info.get("blob")
    ]


def _referenced(session: Session) -> dict[str, str]:
    """Every key that a row holds, and what sort of thing it is."""
    found: dict[str, str] = {}
    for column in columns():
        kind = _KINDS.get(column.class_.__tablename__, "other")
        for key in session.scalars(select(column).where(column.is_not(None)).distinct()):
            found.setdefault(key, kind)
    return found


def _wanted(session: Session, keys: list[str]) -> set[str]:
    """Those of the keys that a row holds now."""
    return {key for column in columns() for key in session.scalars(select(column).where(column.in_(keys)))}


def _forget_old(session: Session, job_id: str) -> list[checkpoints.Superfluous]:
    """The rows go first: a checkpoint that is told of can be fetched."""
    held = session.scalar(select(Job.id).where(Job.id == job_id).with_for_update())
    old = [] if held is None else checkpoints.superfluous(session, job_id)
    if old:
        steps = [row.step for row in old]
        session.execute(delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step.in_(steps)))
    return old


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    some = list(entries)
    for start in range(0, len(some), _AT_ONCE):
        yield some[start : start + _AT_ONCE]
