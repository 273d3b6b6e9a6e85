"""The command line. A command imports what it needs when it runs: `--help` is quick and needs no server."""

from pathlib import Path
from typing import Annotated

import typer

from harmonicdet import keys
from harmonicdet.commands import datasets, jobs, measuring, models, searches, service
from harmonicdet.commands.train import train

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
    train_workers: Annotated[
        int,
        typer.Option(help="Trainings at the same time.", envvar="HARMONICDET_TRAIN_WORKERS", min=0, max=64),
    ] = 1,
) -> None:
    """Starts the whole service on this machine: API and workers, until Ctrl-C."""
    from harmonicdet.up import run

    raise typer.Exit(run(host, port, data, train_workers=train_workers))


@app.command()
def demo(
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="A zip in COCO, Pascal VOC or YOLO layout; by default one is made.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Directory for what the demo writes.")] = Path("demo"),
    architecture: Annotated[str, typer.Option(help="Detector to train.")] = "ssdlite320_mobilenet_v3_large",
    loss: Annotated[str, typer.Option(help="`harmonic` or `baseline`.")] = "harmonic",
    epochs: Annotated[int | None, typer.Option(help="By default enough for about 300 steps.", min=1)] = None,
) -> None:
    """Runs the whole path: starts the service, trains on a small dataset, prints its mAP, predicts, stops."""
    from rich.console import Console

    from harmonicdet.demo import DemoFailed, run

    console = Console()
    try:
        run(
            dataset=dataset,
            folder=folder,
            architecture=architecture,
            loss=loss,
            epochs=epochs,
            console=console,
        )
    except DemoFailed as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Interrupted; the service has stopped.")
        raise typer.Exit(130) from None


app.command()(train)
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.command()(measuring.evaluate)
app.add_typer(measuring.evaluations, name="evaluations")
app.command()(measuring.compare)
app.add_typer(measuring.comparisons, name="comparisons")
app.command()(searches.search)
app.add_typer(searches.app, name="searches")
app.command()(service.architectures)
app.command()(service.workers)
app.command()(service.status)
app.add_typer(keys.app, name="keys")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A directory that is not there, or is empty.")],
    data: keys.Data = None,
) -> None:
    """Writes every row and every blob to a directory, while the service works."""
    raise typer.Exit(_store(["backup", str(target)], data))


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `backup` has written.")],
    data: keys.Data = None,
) -> None:
    """Fills an empty service from a backup, on whatever database and storage."""
    raise typer.Exit(_store(["restore", str(source)], data))


def _store(arguments: list[str], data: Path | None) -> int:
    """`python -m store`, on the data directory of an embedded service if one is given."""
    import os

    from store.__main__ import main

    if data is not None:
        os.environ["HARMONICDET_DATA"] = str(data)
    return main(arguments)


@app.command()
def version() -> None:
    """Prints the version."""
    from harmonicdet import __version__

    print(__version__)
