"""`harmonicdet keys`: makes, lists and revokes API keys, on the service's database or over the network."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from harmonicdet.commands.shared import Json, asked, listed, print_json

if TYPE_CHECKING:
    from api.settings import Settings
    from harmonicdet.client.shapes import KeyCreatedView, KeyView, Scope
    from store.sessions import Database

app = typer.Typer(help="Makes, lists and revokes API keys.", no_args_is_help=True)

Data = Annotated[
    Path | None,
    typer.Option(
        help="Data directory of an embedded service; else by the environment.", envvar="HARMONICDET_DATA"
    ),
]
ProjectName = Annotated[
    str | None, typer.Option(help="Name or id of the project; by default that of the key, or `default`.")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Ask the service there, with a key of scope admin; else its database is opened.",
    ),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: ProjectName = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="read, train, predict, metrics or admin; may be repeated.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(help="Days until it ends by itself; by default never.", min=1)
    ] = None,
    data: Data = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Makes a key and prints it, this once, on a line of its own. A project that does not exist is made."""
    scopes = _scopes(scope or ["read", "train", "predict"])
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    if url is not None:
        _refuse(project)
        with asked(url) as client:
            _show_new(client.keys.create(name, scopes, expires_at=expires_at), as_json)
        return
    from store import keys, projects

    with _opened(data) as (settings, database), database.begin() as session:
        from api.schemas.keys import KeyCreatedView as View
        from api.settings import server_secret
        from harmonicdet.client.shapes import KeyCreatedView

        new = keys.create(
            session,
            secret=server_secret(settings),
            project_id=projects.ensure(session, project or "default").id,
            name=name,
            scopes=[keys.Scope(one) for one in scopes],
            expires_at=expires_at,
        )
        made = KeyCreatedView(View.made(new).model_dump(mode="json"))
    _show_new(made, as_json)


@app.command("list")
def list_(project: ProjectName = None, data: Data = None, url: Url = None, as_json: Json = False) -> None:
    """Lists the keys of a project, newest first, without their secrets."""
    if url is not None:
        _refuse(project)
        with asked(url) as client:
            _show_all(client.keys.list(), as_json)
        return
    with _opened(data) as (_, database):
        found = list(_kept(database, project or "default"))
    _show_all(found, as_json)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, `key_…`.")],
    project: ProjectName = None,
    data: Data = None,
    url: Url = None,
) -> None:
    """Ends a key at once."""
    if url is not None:
        _refuse(project)
        with asked(url) as client:
            revoked = client.keys.revoke(key_id)
            typer.echo(f"{revoked.id} ({revoked.name}) is revoked.")
        return
    from store import keys, projects

    with _opened(data) as (_, database), database.begin() as session:
        row = keys.revoke(session, projects.get(session, project or "default").id, key_id)
        typer.echo(f"{row.id} ({row.name}) is revoked.")


def _scopes(named: list[str]) -> "list[Scope]":
    from harmonicdet.client.shapes import Scope

    known: tuple[Scope, ...] = get_args(Scope)
    if not set(named) <= set(known):
        raise typer.BadParameter(f"a scope is one of {', '.join(known)}", param_hint="--scope")
    return [one for one in known if one in named]


def _refuse(project: str | None) -> None:
    if project is not None:
        raise typer.BadParameter("over the network it is the project of the key", param_hint="--project")


def _kept(database: "Database", project: str) -> "Iterator[KeyView]":
    """As the service would list them."""
    from api.schemas.keys import KeyView as View
    from harmonicdet.client.shapes import KeyView
    from store import keys, projects

    after: str | None = None
    with database.read() as session:
        project_id = projects.get(session, project).id
        while True:
            page = keys.list_(session, project_id, limit=100, after=after)
            for row in page.items:
                yield KeyView(View.of(row).model_dump(mode="json"))
            if not page.has_more:
                return
            after = page.items[-1].id


def _show_new(new: "KeyCreatedView", as_json: bool) -> None:
    if as_json:
        print_json(new.raw)
        return
    typer.echo(f"{new.id} ({new.name}), for {', '.join(new.scopes)}:", err=True)
    typer.echo(new.key)


def _show_all(found: "Iterable[KeyView]", as_json: bool) -> None:
    listed(
        found,
        as_json,
        ["id", "name", "begins with", "scopes", "made", "ends", "revoked"],
        lambda one: [
            *(one.id, one.name, one.prefix, ", ".join(one.scopes)),
            *(
                f"{time:%Y-%m-%d %H:%M}" if time is not None else ""
                for time in (one.created_at, one.expires_at, one.revoked_at)
            ),
        ],
    )


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
