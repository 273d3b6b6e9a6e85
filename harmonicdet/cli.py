"""The command line. A command imports what it needs when it runs: `--help` is quick and needs no server."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="harmonicdet",
    help="Trains object detectors as a service.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def main() -> None:
    """Trains object detectors as a service."""


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    data: Annotated[
        Path, typer.Option(help="Directory of everything it keeps.", envvar="HARMONICDET_DATA")
    ] = Path("data"),
) -> None:
    """Starts the whole service on this machine: API and workers, until Ctrl-C."""
    from harmonicdet.up import run

    raise typer.Exit(run(host, port, data))


@app.command()
def version() -> None:
    """Prints the version."""
    from harmonicdet import __version__

    print(__version__)
