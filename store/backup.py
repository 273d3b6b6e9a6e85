"""A service in a directory, and back: its rows as they were at one moment, and every blob that they name.

`rows/{table}.jsonl.gz` holds a row a line, `blobs/` the blobs by their keys; `manifest.json`, written last,
says what there is of both, with its SHA-256. Nothing in it depends on the kind of database or storage: what
was made on one is restored to the other. It is made while the service works: the rows are read in one
transaction, then the blobs are copied, and nobody collects meanwhile. Whoever has a backup has the service's
secrets.
"""

import gzip
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Connection, MetaData, Table, delete, func, insert, inspect, select

from store import chores, collect, migrations
from store.blobs import CHUNK, Blobs, content_key, hash_file, room
from store.errors import BackupDamaged, BackupRefused, BlobCorrupt, BlobNotFound, ChoreTaken
from store.sessions import Database
from store.tables import DEFAULT_PROJECT

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
SECRET = "secret"  # noqa: S105 - a file's name
_HELD_SECONDS = 3600.0
_EXTEND_SECONDS = 60.0
_PATIENCE_SECONDS = 600.0
_AT_ONCE = 1000
# Who is alive, and who does what, says nothing about the data.
_LEFT_OUT = frozenset({"alembic_version", "worker"})
# Where the SHA-256 of the blob is that a column names; it is in the key itself else.
_HASHES = {"archive": "archive_sha256", "blob": "sha256", "checkpoint_key": "checkpoint_sha256"}


@dataclass(frozen=True)
class Outcome:
    """What was written. `damaged`: keys of blobs that are gone or are not what they were, and not in it."""

    rows: int
    blobs: int
    bytes: int
    damaged: tuple[str, ...]


@dataclass
class _Snapshot:
    """One reading of the rows."""

    revision: str
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)  # SHA-256 by key


def backup(database: Database, blobs: Blobs, target: Path, *, secret: Path | None = None) -> Outcome:
    """Write a backup to `target`, which must not be there or be empty; `secret` goes with it if it is there.

    Raises `BackupRefused`, `ChoreTaken`, `StorageFull`, and `Unavailable` when storage goes away; what was
    written so far is then no backup: it has no manifest.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupRefused(f"{target} is there already, and is not an empty directory.")
    with room():
        (target / "rows").mkdir(parents=True)
        target.chmod(0o700)
    copied: dict[str, dict[str, Any]] = {}
    damaged: set[str] = set()
    gone: set[str] = set()
    with _nobody_collects(database) as still:
        while True:
            snapshot = _dump(database, target)
            missing = _copy(blobs, snapshot, target, copied, damaged, gone, still)
            # A worker deletes a checkpoint when it has made the next: then newer rows know the next one. What
            # they still name is lost.
            damaged |= missing & gone
            if missing <= damaged:
                break
            gone |= missing
            logger.info("%d checkpoints have been replaced meanwhile; reading the rows again", len(missing))
    for key in copied.keys() - snapshot.wanted.keys() - {collect.IDENTITY}:
        (target / "blobs" / key).unlink()
        del copied[key]
    with room():
        if secret is not None and secret.is_file():
            _write_secret(target / SECRET, secret.read_bytes())
        _write_manifest(target, snapshot, copied, damaged)
    return Outcome(
        rows=sum(table["rows"] for table in snapshot.tables.values()),
        blobs=len(copied),
        bytes=sum(blob["bytes"] for blob in copied.values()),
        damaged=tuple(sorted(damaged)),
    )


def restore(database: Database, blobs: Blobs, source: Path, *, secret: Path | None = None) -> Outcome:
    """Fill an empty database and empty blobs from a backup; the rows come last, all at once or not at all.

    An interrupted one may be repeated. Raises `BackupRefused` where anything is there already, or for a
    backup of a newer version; `BackupDamaged` where it is not what its manifest says; what putting raises.
    """
    manifest = _read_manifest(source)
    url = database.url.render_as_string(hide_password=False)
    _require_known(manifest["revision"])
    _require_unused(database)
    foreign = next((key for key in blobs.iter() if key not in manifest["blobs"]), None)
    if foreign is not None:
        raise BackupRefused(f"The blobs are not empty: {foreign} is none of the backup's.")
    for key, blob in manifest["blobs"].items():
        _put(blobs, source / "blobs" / key, key, blob["sha256"])
    # The tables of the version that made the backup, filled, then brought to this version's.
    if _has_tables(database):
        migrations.downgrade(url)
    migrations.upgrade(url, manifest["revision"])
    with database.begin() as session:
        _load(session.connection(), manifest["tables"], source)
    migrations.upgrade(url)
    if secret is not None and not secret.exists() and (source / SECRET).is_file():
        secret.parent.mkdir(parents=True, exist_ok=True)
        _write_secret(secret, (source / SECRET).read_bytes())
    return Outcome(
        rows=sum(table["rows"] for table in manifest["tables"].values()),
        blobs=len(manifest["blobs"]),
        bytes=sum(blob["bytes"] for blob in manifest["blobs"].values()),
        damaged=tuple(manifest["damaged"]),
    )


# Rows out


def _dump(database: Database, target: Path) -> _Snapshot:
    """Every row as it is at one moment, a file per table."""
    named = {(one.class_.__tablename__, one.property.columns[0].name) for one in collect.columns()}
    options = {} if database.is_sqlite else {"isolation_level": "REPEATABLE READ"}
    with database.read() as session:
        connection = session.connection(execution_options=options)
        snapshot = _Snapshot(_revision(connection))
        for table in _tables(connection):
            path = target / "rows" / f"{table.name}.jsonl.gz"
            columns = [column for name, column in named if name == table.name]
            with room(), gzip.GzipFile(path, "wb", mtime=0) as file:
                count = 0
                for row in _rows(connection, table):
                    file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
                    count += 1
                    for column in columns:
                        if row[column] is not None:
                            snapshot.wanted[row[column]] = _hash_of(row, column)
            snapshot.tables[table.name] = {"rows": count, "sha256": hash_file(path)[0]}
    logger.info("read %d rows", sum(table["rows"] for table in snapshot.tables.values()))
    return snapshot


def _tables(connection: Connection) -> list[Table]:
    """Those of the database, as it is: referred to before they are referred to by."""
    found, metadata, inspector = [], MetaData(), inspect(connection)
    for name, _ in inspector.get_sorted_table_and_fkc_names():
        if name is None or name in _LEFT_OUT:
            continue
        key = set(inspector.get_pk_constraint(name)["constrained_columns"])
        columns = []
        for column in inspector.get_columns(name):
            kind = column["type"]
            if isinstance(kind, JSON):
                kind = JSON(none_as_null=True)
            columns.append(Column(column["name"], kind, primary_key=column["name"] in key))
        found.append(Table(name, metadata, *columns))
    return found


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    statement = select(table).order_by(*table.primary_key)
    if table.name == "chore":
        statement = statement.where(table.c.name == "blobs")
    streaming = connection.execution_options(stream_results=True, yield_per=_AT_ONCE)
    for row in streaming.execute(statement).mappings():
        yield dict(row)


def _hash_of(row: dict[str, Any], column: str) -> str:
    return str(row.get(_HASHES.get(column, "")) or row[column].rpartition("/")[2])


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        raise BackupRefused("There is nothing to back up: the database has never been migrated.")
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


# Blobs out


def _copy(
    blobs: Blobs,
    snapshot: _Snapshot,
    target: Path,
    copied: dict[str, dict[str, Any]],
    damaged: set[str],
    gone: set[str],
    still: "_Hold",
) -> set[str]:
    """Copies what is named and not copied yet; keys of those that are not there."""
    missing = set()
    for key in sorted(snapshot.wanted.keys() - copied.keys() - damaged, key=_checkpoints_first):
        still.held()
        path = target / "blobs" / key
        try:
            blobs.fetch(key, path, snapshot.wanted[key])
        except BlobNotFound:
            missing.add(key)
        except BlobCorrupt as error:
            logger.error("%s", error)
            damaged.add(key)
        else:
            copied[key] = {"sha256": snapshot.wanted[key], "bytes": path.stat().st_size}
    if collect.IDENTITY not in copied and blobs.exists(collect.IDENTITY):
        with blobs.open(collect.IDENTITY) as file:
            data = file.read()
        (target / "blobs").mkdir(exist_ok=True)
        (target / "blobs" / collect.IDENTITY).write_bytes(data)
        copied[collect.IDENTITY] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    for key in missing & gone:
        logger.error("There are no bytes under %s.", key)
    return missing


def _checkpoints_first(key: str) -> tuple[bool, str]:
    """They are the ones that are replaced while we are at it."""
    return not key.startswith("jobs/"), key


class _Hold:
    """The collector's chore, in our hands."""

    def __init__(self, database: Database) -> None:
        self._held = collect.Held(database)
        self._database = database
        self._until = 0.0

    def take(self) -> bool:
        self._until = time.monotonic() + _EXTEND_SECONDS
        return self._database.run(
            lambda session: chores.take(
                session, collect.CHORE, holder=self._held.holder, seconds=_HELD_SECONDS, now=True
            )
        )

    def held(self) -> None:
        """Raises `ChoreTaken` when it is no longer ours."""
        if time.monotonic() < self._until:
            return
        kept = self._database.run(
            lambda session: chores.extend(
                session, collect.CHORE, holder=self._held.holder, seconds=_HELD_SECONDS
            ),
            repeatable=True,
        )
        if not kept:
            raise ChoreTaken
        self._until = time.monotonic() + _EXTEND_SECONDS

    def give_back(self) -> None:
        self._database.run(
            lambda session: chores.give_back(session, collect.CHORE, holder=self._held.holder),
            repeatable=True,
        )


@contextmanager
def _nobody_collects(database: Database) -> Iterator[_Hold]:
    """Waits for a collector that is at it. Raises `ChoreTaken`."""
    hold = _Hold(database)
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while not hold.take():
        if time.monotonic() > give_up:
            raise ChoreTaken("Old blobs are being collected; make the backup when that has ended.")
        time.sleep(1)
    try:
        yield hold
    finally:
        hold.give_back()


def _write_manifest(
    target: Path, snapshot: _Snapshot, copied: dict[str, dict[str, Any]], damaged: Iterable[str]
) -> None:
    """Last, and whole: with it the backup is one."""
    manifest = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": snapshot.revision,
        "tables": snapshot.tables,
        "blobs": dict(sorted(copied.items())),
        "damaged": sorted(damaged),
    }
    temporary = target / f".{MANIFEST}"
    with temporary.open("w") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.sync()
    temporary.rename(target / MANIFEST)


def _write_secret(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


# And back


def _read_manifest(source: Path) -> dict[str, Any]:
    """Raises `BackupRefused` for what is no backup, `BackupDamaged` where rows are not as they were."""
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupRefused(f"{source} is no backup, or one that was not finished: no {MANIFEST}.") from None
    except ValueError as error:
        raise BackupDamaged(f"{source / MANIFEST} cannot be read: {error}") from error
    if manifest.get("format") != FORMAT:
        raise BackupRefused(f"{source} was made by another version: format {manifest.get('format')}.")
    for name, table in manifest["tables"].items():
        path = source / "rows" / f"{name}.jsonl.gz"
        if not path.is_file() or hash_file(path)[0] != table["sha256"]:
            raise BackupDamaged(f"{path} is not what was written.")
    return manifest


def _require_known(revision: str) -> None:
    if revision not in migrations.revisions():
        raise BackupRefused(f"The backup is of a newer version: its tables are those of revision {revision}.")


def _has_tables(database: Database) -> bool:
    with database.read() as session:
        return bool(inspect(session.connection()).get_table_names())


def _require_unused(database: Database) -> None:
    """Raises `BackupRefused` unless there is nothing but what the migrations put there."""
    with database.read() as session:
        connection = session.connection()
        for table in _tables(connection):
            statement = select(func.count()).select_from(table)
            if table.name == "project":
                statement = statement.where(table.c.id != DEFAULT_PROJECT)
            if table.name != "chore" and connection.execute(statement).scalar():
                raise BackupRefused(f"The database is not empty: it has rows in {table.name}.")


def _put(blobs: Blobs, path: Path, key: str, sha256: str) -> None:
    """A copy: the backup's own file is not linked to. Raises `BackupDamaged`."""
    try:
        found = hash_file(path)[0]
    except FileNotFoundError:
        raise BackupDamaged(f"{path} is missing.") from None
    if found != sha256 or (key.startswith("sha256/") and key != content_key(sha256)):
        raise BackupDamaged(f"{path} is not what was written.")
    with path.open("rb") as file, blobs.staging() as staging:
        while chunk := file.read(CHUNK):
            staging.write(chunk)
        if staging.commit(key=key).sha256 != sha256:
            blobs.delete(key)
            raise BackupDamaged(f"{path} has changed while it was read.")


def _load(connection: Connection, counts: dict[str, dict[str, Any]], source: Path) -> None:
    tables = _tables(connection)
    for table in reversed(tables):
        connection.execute(delete(table))  # what the migrations put there
    for table in tables:
        loaded = 0
        with gzip.open(source / "rows" / f"{table.name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = map(json.loads, lines)
            while some := list(islice(rows, _AT_ONCE)):
                connection.execute(insert(table), some)
                loaded += len(some)
        if loaded != counts[table.name]["rows"]:
            raise BackupDamaged(f"{table.name} has {loaded} rows, not {counts[table.name]['rows']}.")
