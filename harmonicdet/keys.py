"""`harmonicdet keys`: makes, lists and revokes API keys on the service's own database."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from api.settings import Settings
    from store.sessions import Database

app = typer.Typer(help="Makes, lists and revokes API keys.", no_args_is_help=True)

Data = Annotated[
    Path | None,
    typer.Option(
        help="Data directory of an embedded service; else by the environment.", envvar="HARMONICDET_DATA"
    ),
]
ProjectName = Annotated[str, typer.Option(help="Name or id of the project.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: ProjectName = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="read, train, predict, metrics or admin; may be repeated.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(help="Days until it ends by itself; by default never.", min=1)
    ] = None,
    data: Data = None,
) -> None:
    """Makes a key and prints it, this once, on a line of its own. A project that does not exist is made."""
    from store import keys, projects
    from store.keys import Scope

    try:
        scopes = [Scope(one) for one in scope or ["read", "train", "predict"]]
    except ValueError:
        raise typer.BadParameter(f"a scope is one of {', '.join(Scope)}", param_hint="--scope") from None
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _opened(data) as (settings, database), database.begin() as session:
        from api.settings import server_secret

        new = keys.create(
            session,
            secret=server_secret(settings),
            project_id=projects.ensure(session, project).id,
            name=name,
            scopes=scopes,
            expires_at=expires_at,
        )
        typer.echo(f"{new.row.id} of project {project}, for {', '.join(new.row.scopes)}:", err=True)
    typer.echo(new.text)


@app.command("list")
def list_(project: ProjectName = "default", data: Data = None) -> None:
    """Lists the keys of a project, newest first, without their secrets."""
    from rich.console import Console
    from rich.table import Table

    from store import keys, projects

    table = Table("id", "name", "begins with", "scopes", "made", "ends", "revoked", box=None)
    with _opened(data) as (_, database), database.read() as session:
        after: str | None = None
        while True:
            page = keys.list_(session, projects.get(session, project).id, limit=100, after=after)
            for row in page.items:
                times = (row.created_at, row.expires_at, row.revoked_at)
                shown = [f"{time:%Y-%m-%d %H:%M}" if time is not None else "" for time in times]
                table.add_row(row.id, row.name, row.prefix, ", ".join(row.scopes), *shown)
            if not page.has_more:
                break
            after = page.items[-1].id
    # An id cut short could not be revoked: a narrow terminal wraps the lines instead.
    Console(width=max(Console().width, 160), soft_wrap=True).print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, `key_…`.")],
    project: ProjectName = "default",
    data: Data = None,
) -> None:
    """Ends a key at once."""
    from store import keys, projects

    with _opened(data) as (_, database), database.begin() as session:
        row = keys.revoke(session, projects.get(session, project).id, key_id)
        typer.echo(f"{row.id} ({row.name}) is revoked.")


@contextmanager
def _opened(data: Path | None) -> "Iterator[tuple[Settings, Database]]":
    """The settings of the environment and their database, brought to this version's tables."""
    from sqlalchemy.exc import OperationalError

    from api.settings import Settings
    from store.errors import StoreError
    from store.sessions import Database, migrate
    from store.settings import read

    try:
        settings = read(Settings) if data is None else read(Settings, data=data)
        settings.data.mkdir(parents=True, exist_ok=True)
        migrate(settings.database_url)
        database = Database(settings.database_url)
        try:
            yield settings, database
        finally:
            database.dispose()
    except StoreError as error:
        typer.echo(f"harmonicdet keys: {error.message}", err=True)
        raise typer.Exit(1) from None
    except OperationalError as error:
        typer.echo(f"harmonicdet keys: the database cannot be reached: {error.orig}", err=True)
        raise typer.Exit(1) from None
