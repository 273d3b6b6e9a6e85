"""`harmonicdet datasets`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonicdet.commands.shared import (
    Json,
    Limit,
    Url,
    Yes,
    ago,
    asked,
    confirmed,
    listed,
    megabytes,
    show,
    waiting_for,
)

if TYPE_CHECKING:
    from harmonicdet.client import Client, Dataset

app = typer.Typer(help="Uploads datasets, and shows what is in them.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="Id of the dataset, `ds_…`.")]


@app.command()
def upload(
    source: Annotated[
        Path, typer.Argument(help="A zip or a folder in COCO, Pascal VOC or YOLO layout.", exists=True)
    ],
    name: Annotated[str | None, typer.Option(help="Its name; by default that of the file.")] = None,
    layout: Annotated[str, typer.Option("--format", help="auto, coco, voc or yolo.")] = "auto",
    on_invalid: Annotated[
        str, typer.Option(help="What becomes of wrong annotations: drop, fix or reject.")
    ] = "drop",
    wait: Annotated[bool, typer.Option(help="Wait for the validation.")] = True,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Uploads a dataset, in parts when it is large, and waits for its validation."""
    with asked(url) as client:
        options: dict[str, Any] = {"name": name, "format": layout, "on_invalid": on_invalid}
        dataset = sent(client, source, **options)
        if wait:
            dataset = validated(client, dataset)
        show(dataset, as_json, lambda: _lines(dataset))


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only those: validating, ready or invalid.")] = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Lists datasets, the newest first."""
    with asked(url) as client:
        wanted: Any = status
        found = client.datasets.list(status=wanted, limit=limit)
        listed(
            found,
            as_json,
            ["id", "name", "status", "format", "images", "boxes", "classes", "uploaded"],
            lambda one: [
                *(one.id, one.name, one.status, one.format),
                *((one.summary or {}).get(count, "") for count in ("images", "annotations")),
                len((one.summary or {}).get("categories", [])) or "",
                ago(one.created_at),
            ],
        )


@app.command("show")
def show_(dataset: Id, url: Url = None, as_json: Json = False) -> None:
    """Shows a dataset: its splits and classes, and whether it can be used."""
    with asked(url) as client:
        found = client.datasets.get(dataset)
        show(found, as_json, lambda: _lines(found))


@app.command()
def report(dataset: Id, limit: Limit = 1000, url: Url = None, as_json: Json = False) -> None:
    """Lists what the validation found: each wrong annotation, by file and line."""
    with asked(url) as client:
        listed(
            client.datasets.report(dataset, limit=limit),
            as_json,
            ["severity", "code", "done", "where", "what"],
            lambda one: [one.severity, one.code, one.action, one.location, one.message],
        )


@app.command()
def stats(dataset: Id, url: Url = None, as_json: Json = False) -> None:
    """Shows the balance of classes, and the sizes of boxes."""
    with asked(url) as client:
        found = client.datasets.stats(dataset)
        sizes = found.box_sizes

        def lines() -> list[tuple[str, object]]:
            return [
                ("images", f"{found.images}, {found.negatives} without a box"),
                *((f"  {one.name}", f"{one.images} images, {one.boxes} boxes") for one in found.splits),
                ("boxes", found.boxes),
                *((f"  {one.name}", f"{one.boxes} ({one.share:.0%})") for one in found.classes),
                ("sizes", f"small {sizes.small}, medium {sizes.medium}, large {sizes.large}"),
            ]

        show(found, as_json, lines)


@app.command()
def delete(dataset: Id, yes: Yes = False, url: Url = None) -> None:
    """Deletes a dataset; models trained on it keep working."""
    confirmed(f"Delete {dataset}", yes)
    with asked(url) as client:
        client.datasets.delete(dataset)


def sent(client: "Client", source: Path, **options: Any) -> "Dataset":
    """Upload, with a bar on standard error while a large one goes out."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    again = f"harmonicdet datasets upload {source}"
    with (
        waiting_for("What has arrived is kept: the upload", again),
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task("", total=None, visible=False)

        def told(arrived: int, whole: int) -> None:
            progress.update(bar, completed=arrived, total=whole, visible=True)

        return client.datasets.upload(source, told=told, **options)


def validated(client: "Client", dataset: "Dataset") -> "Dataset":
    """Wait for the validation. Raises `DatasetInvalid`."""
    with waiting_for(dataset.id, f"harmonicdet datasets show {dataset.id}"):
        return client.datasets.wait(dataset)


def _lines(dataset: "Dataset") -> list[tuple[str, object]]:
    summary = dataset.summary or {}
    splits = ", ".join(f"{name} {split['images']}" for name, split in summary.get("splits", {}).items())
    classes = ", ".join(one["name"] for one in summary.get("categories", []))
    counts = f"{summary.get('annotations')}, {summary.get('dropped')} dropped, {summary.get('fixed')} fixed"
    return [
        ("id", dataset.id),
        ("name", dataset.name),
        ("status", dataset.status),
        ("format", dataset.format),
        ("size", megabytes(dataset.archive.bytes)),
        ("images", f"{summary['images']} ({splits})" if summary else None),
        ("boxes", counts if summary else None),
        ("classes", classes),
        ("error", None if dataset.error is None else dataset.error.detail),
    ]
