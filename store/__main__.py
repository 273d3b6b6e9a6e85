"""`python -m store`: migrate the database, back up and restore, collect old blobs, set a project's quotas."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import OperationalError

from store import backup, collect, quotas
from store.blobs import open_blobs
from store.errors import BackupDamaged, StoreError
from store.sessions import Database, migrate
from store.settings import StoreSettings, read
from store.tables import DEFAULT_PROJECT


def main(arguments: list[str] | None = None) -> int:
    """0 when it was done; 1 when a setting is wrong, the database cannot be reached, or it was refused."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    act: Callable[[StoreSettings, argparse.Namespace], None] = options.act
    try:
        act(read(StoreSettings), options)
    except StoreError as error:
        logging.error("%s", error)
        return 1
    except OperationalError as error:
        logging.error("the database of HARMONICDET_DATABASE_URL cannot be reached: %s", error.orig)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m store")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("migrate", help="bring the database to this version's tables")
    command.set_defaults(act=_migrate)
    command = commands.add_parser("backup", help="write rows and blobs to a directory; the service may work")
    command.add_argument("target", type=Path, help="a directory that is not there, or is empty")
    command.set_defaults(act=_backup)
    command = commands.add_parser("restore", help="fill an empty database and empty blobs from a backup")
    command.add_argument("source", type=Path)
    command.set_defaults(act=_restore)
    command = commands.add_parser("collect", help="delete blobs that nothing refers to any more")
    command.add_argument("--dry-run", action="store_true", help="only say which")
    command.set_defaults(act=_collect)
    command = commands.add_parser("quotas", help="show or change how much a project may have")
    command.add_argument("project", nargs="?", default=DEFAULT_PROJECT, help="its id (default: %(default)s)")
    command.add_argument("--max-queued-jobs", type=int, help="0 is no limit")
    command.add_argument("--max-running-jobs", type=int, help="0 is no limit")
    command.add_argument("--max-bytes", type=int, help="to be kept for it; 0 is no limit")
    command.set_defaults(act=_quotas)
    return parser


def _migrate(settings: StoreSettings, options: argparse.Namespace) -> None:
    migrate(settings.database_url)


def _backup(settings: StoreSettings, options: argparse.Namespace) -> None:
    database = Database(settings.database_url)
    try:
        made = backup.backup(database, open_blobs(settings), options.target, secret=_secret(settings))
    finally:
        database.dispose()
    _say(json.dumps(vars(made)))
    if made.damaged:
        raise BackupDamaged(
            f"{len(made.damaged)} blobs were gone or damaged already, and are not in the backup; the rest is."
        )


def _restore(settings: StoreSettings, options: argparse.Namespace) -> None:
    database = Database(settings.database_url)
    try:
        made = backup.restore(database, open_blobs(settings), options.source, secret=_secret(settings))
    finally:
        database.dispose()
    _say(json.dumps(vars(made)))


def _secret(settings: StoreSettings) -> Path | None:
    """The secret that an embedded service has made for itself; another is the operator's."""
    return settings.data / backup.SECRET if settings.embedded else None


def _collect(settings: StoreSettings, options: argparse.Namespace) -> None:
    database, blobs = Database(settings.database_url), open_blobs(settings)
    try:
        if options.dry_run:
            planned = collect.plan(database, blobs, grace_seconds=settings.collect_grace_seconds)
            for entry in (*planned.unreferenced, *planned.dead_attempts):
                _say(f"{entry.bytes:>14,} {entry.key}")
            for old in planned.old_checkpoints:
                _say(f"{old.bytes:>14,} {old.key}")
            _say(json.dumps(planned.summary()))
        else:
            _say(json.dumps(collect.run(database, blobs, settings)))
    finally:
        database.dispose()


def _quotas(settings: StoreSettings, options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("max_queued_jobs", "max_running_jobs", "max_bytes")}
    database = Database(settings.database_url)
    try:
        found = database.run(lambda session: quotas.limit(session, options.project, **given))
        with database.read() as session:
            used = quotas.used(session, options.project)
    finally:
        database.dispose()
    _say(json.dumps({"project": options.project, **vars(found), "bytes": used.total}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
