"""What all commands that ask a service have in common: options, errors and exit codes, tables and JSON."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harmonicdet.client import Client
    from harmonicdet.client.shape import Shape

Url = Annotated[
    str | None, typer.Option("--url", help="Address of the service; else HARMONICDET_URL, else this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="Print what the service said, as JSON.")]
Limit = Annotated[int, typer.Option("--limit", help="Most items.", min=1)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

FAILED, INVALID, ABSENT, NOT_ALLOWED, NOT_THERE, INTERRUPTED = 1, 2, 3, 4, 5, 130
_RETRIES = 2  # a person is waiting


@contextmanager
def asked(url: str | None) -> "Iterator[Client]":
    """A client; what goes wrong becomes a sentence on standard error and an exit code."""
    from harmonicdet.client import Client, errors

    codes: list[tuple[tuple[type[Exception], ...], int]] = [
        ((errors.NotFound, FileNotFoundError), ABSENT),
        ((errors.AuthenticationFailed, errors.PermissionMissing), NOT_ALLOWED),
        ((errors.ConnectionFailed, errors.ServiceFailed, errors.RateLimited), NOT_THERE),
        ((errors.Invalid, errors.TooLarge), INVALID),
        ((errors.HarmonicDetError, OSError), FAILED),
    ]
    try:
        with Client(url, retries=_RETRIES) as client:
            yield client
    except BrokenPipeError:  # whoever reads has enough
        raise
    except (errors.HarmonicDetError, OSError) as error:
        tail = getattr(error, "log_tail", None)
        if tail:
            typer.echo(tail.rstrip(), err=True)
        typer.echo(f"harmonicdet: {error}", err=True)
        if isinstance(error, errors.AuthenticationFailed):
            typer.echo("  HARMONICDET_API_KEY has the key, to the address in HARMONICDET_URL.", err=True)
        raise typer.Exit(next(code for kinds, code in codes if isinstance(error, kinds))) from None


@contextmanager
def waiting_for(thing: str, again: str) -> Iterator[None]:
    """Ctrl-C ends the waiting, not what is waited for, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\n{thing} goes on; `{again}` comes back to it.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def show(found: "Shape", as_json: bool, lines: Callable[[], Iterable[tuple[str, object]]]) -> None:
    """One thing: as JSON, or its lines of a name and a value."""
    if as_json:
        print_json(found.raw)
        return
    table = _table([])
    for name, told in lines():
        if told is not None and told != "":
            table.add_row(f"[bold]{name}[/]", _text(told))
    _print(table)


def listed(
    found: "Iterable[Shape]", as_json: bool, columns: Sequence[str], row: Callable[[Any], Sequence[object]]
) -> None:
    """Several things: one JSON array, or a table."""
    if as_json:
        print_json([one.raw for one in found])
        return
    table = _table(columns)
    for one in found:
        table.add_row(*[_text(cell) for cell in row(one)])
    _print(table)


def print_json(value: object, *, line: bool = False) -> None:
    """Indented for people; on one line in a stream."""
    text = json.dumps(value, ensure_ascii=False, indent=None if line or not sys.stdout.isatty() else 2)
    print(text, flush=True)


def confirmed(what: str, yes: bool) -> None:
    """Ask before something is gone, where somebody can answer."""
    if not yes and sys.stdin.isatty():
        typer.confirm(f"{what}?", abort=True, err=True)


def settings(pairs: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """`epochs=3`, `loss.kind=harmonic`: a config. A value is JSON where it can be, else text."""
    config: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not name=value", param_hint=option)
        *outer, last = name.split(".")
        inner = config
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise typer.BadParameter(f"{part!r} of {name!r} has a value already", param_hint=option)
        inner[last] = value(text)
    return config


def config_file(path: Path | None) -> dict[str, Any]:
    """The config in a file of JSON; empty without one."""
    if path is None:
        return {}
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} is no JSON: {error}", param_hint="--config") from error
    if not isinstance(config, dict):
        raise typer.BadParameter(f"{path} is no JSON object", param_hint="--config")
    return config


def metrics_line(metrics: dict[str, Any] | None) -> str:
    """`AP 0.617  AP50 0.875  AP75 0.718`."""
    found = metrics or {}
    told = [name for name in ("AP", "AP50", "AP75") if found.get(name) is not None]
    return "  ".join(f"{name} {found[name]:.3f}" for name in told)


def ago(time: datetime | None) -> str:
    """Such as `3 min ago`."""
    from harmonicdet.client.progress import duration

    return "" if time is None else f"{duration(max(0.0, (datetime.now(UTC) - time).total_seconds()))} ago"


def megabytes(count: int) -> str:
    """Such as `7.4 MB`."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def value(text: str) -> Any:
    """JSON where it can be, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    return escape(f"{value:.3f}" if isinstance(value, float) else str(value))


def _table(columns: Sequence[str]) -> Any:
    from rich.table import Table

    return Table(*columns, box=None, show_header=bool(columns), pad_edge=False)


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console()
    # An id cut short could not be used: a narrow terminal wraps the lines instead.
    Console(width=max(console.width, 200), soft_wrap=True, no_color=console.no_color).print(table)
