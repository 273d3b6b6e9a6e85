"""`harmonicdet models`."""

from pathlib import Path
from typing import Annotated, Any

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
    metrics_line,
    print_json,
    show,
)

app = typer.Typer(help="Lists models, fetches their files, and predicts.", no_args_is_help=True)
_FORMATS = ("coco", "coco-results", "yolo", "voc")
Id = Annotated[str, typer.Argument(help="Id of the model (`mdl_…`), or an alias such as `production`.")]


@app.command("list")
def list_(
    dataset: Annotated[str | None, typer.Option(help="Only those trained on this dataset.")] = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Lists models, the newest first."""
    with asked(url) as client:
        listed(
            client.models.list(dataset=dataset, limit=limit),
            as_json,
            ["id", "name", "architecture", "loss", "metrics", "made"],
            lambda one: [
                *(one.id, one.name, one.architecture, one.loss),
                *(metrics_line(one.metrics), ago(one.created_at)),
            ],
        )


@app.command("show")
def show_(model: Id, url: Url = None, as_json: Json = False) -> None:
    """Shows a model: its classes, metrics, files and aliases."""
    with asked(url) as client:
        found = client.models.get(model)

        def lines() -> list[tuple[str, object]]:
            return [
                ("id", found.id),
                ("name", found.name),
                ("aliases", ", ".join(found.aliases)),
                ("architecture", found.architecture),
                ("loss", found.loss),
                ("classes", ", ".join(one.name for one in found.classes)),
                ("metrics", metrics_line(found.metrics)),
                ("dataset", found.dataset_id),
                ("job", found.job_id),
                *(("file", f"{one.name}  {megabytes(one.bytes)}") for one in found.artifacts),
            ]

        show(found, as_json, lines)


@app.command()
def download(
    model: Id,
    names: Annotated[
        list[str] | None, typer.Argument(help="Files, such as model.onnx; by default all.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for them.")] = Path(),
    url: Url = None,
) -> None:
    """Fetches files of a model, checked by their SHA-256, and prints their paths. A break does not matter."""
    with asked(url) as client:
        output.mkdir(parents=True, exist_ok=True)
        for name in names or [one.name for one in client.models.artifacts(model)]:
            typer.echo(client.models.download(model, name, output))


@app.command()
def predict(
    model: Id,
    images: Annotated[
        list[str],
        typer.Argument(help="Images, or folders of them; for --export also a dataset's id, `ds_…`."),
    ],
    threshold: Annotated[
        list[str] | None, typer.Option(help="Least score: a number, or class=number; may be repeated.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class; may be repeated.")
    ] = None,
    most: Annotated[int | None, typer.Option("--max-detections", help="Most of an image.", min=1)] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Write the image with boxes drawn: a file, or a folder for several.")
    ] = None,
    export: Annotated[
        str | None, typer.Option(help="Write annotations instead: coco, coco-results, yolo or voc.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Where to: a new zip or folder, or a file of COCO results.")
    ] = None,
    with_images: Annotated[bool, typer.Option(help="Write the images beside the annotations.")] = True,
    split: Annotated[str | None, typer.Option(help="Of a dataset, only this split.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Detects objects on images; with --json one object an image, one a line. With --export writes what it
    finds as annotations, for people to go over in their tool."""
    from harmonicdet.client import HarmonicDetError

    options: dict[str, Any] = {
        "score_threshold": _thresholds(threshold),
        "classes": classes or None,
        "max_detections": most,
    }
    if export is not None:
        options |= {"format": export, "split": split, "with_images": with_images}
        _export(model, images, to, options, url, as_json)
        return
    if to is not None:
        raise typer.BadParameter("says where to export to: --export says what", param_hint="--to")
    paths = _files(images)
    into_folder = draw is not None and (len(paths) > 1 or draw.is_dir())
    with asked(url) as client:
        found = client.models.predict_each(model, paths, **options)
        for path in paths:
            try:
                prediction = next(found)
            except HarmonicDetError:
                typer.echo(f"{path}:", err=True)
                raise
            if as_json:
                print_json(prediction.raw | {"path": str(path)}, line=True)
            else:
                for one in prediction.detections:
                    box = ", ".join(f"{edge:.0f}" for edge in one.box)
                    typer.echo(f"{path}  {one.class_name:<16} {one.score:.3f}  [{box}]")
            if draw is not None:
                target = prediction.save(draw / f"{path.stem}.png" if into_folder else draw)
                typer.echo(f"{path} is drawn in {target}", err=True)


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="The name, such as `production`.")],
    model: Annotated[str | None, typer.Argument(help="What it is to mean from now on.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Take the name away.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Says what a name means, makes it mean a model, or takes it away."""
    with asked(url) as client:
        if delete:
            client.aliases.delete(name)
            return
        found = client.aliases.get(name) if model is None else client.aliases.put(name, model)
        show(found, as_json, lambda: [("name", found.name), ("model", found.model_id)])


@app.command()
def delete(model: Id, yes: Yes = False, url: Url = None) -> None:
    """Deletes a model and its files."""
    confirmed(f"Delete {model}", yes)
    with asked(url) as client:
        client.models.delete(model)


def _export(
    model: str, images: list[str], to: Path | None, options: dict[str, Any], url: str | None, as_json: bool
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if options["format"] not in _FORMATS:
        raise typer.BadParameter(f"is one of {', '.join(_FORMATS)}", param_hint="--export")
    if to is None:
        raise typer.BadParameter("is missing: where to write", param_hint="--to")
    is_dataset = len(images) == 1 and images[0].startswith("ds_") and not Path(images[0]).exists()
    source = images[0] if is_dataset else _files(images)
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with asked(url) as client, Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=None)
        done = client.models.export(
            model,
            source,
            to,
            told=lambda count, whole: progress.update(bar, completed=count, total=whole),
            **options,
        )
    if as_json:
        print_json(done._asdict() | {"path": str(done.path)})
    else:
        typer.echo(f"{done.path}: {done.images} images, {done.objects} objects")


def _files(named: list[str]) -> list[Path]:
    """The images, those of folders included. What is not there is wrong use."""
    from harmonicdet.client.images import files_in

    for one in named:
        if not Path(one).exists():
            raise typer.BadParameter(f"there is no {one}", param_hint="IMAGES")
    paths = [file for one in named for file in files_in(Path(one))]
    if not paths:
        raise typer.BadParameter("there is no image", param_hint="IMAGES")
    return paths


def _thresholds(given: list[str] | None) -> Any:
    """A number, or numbers by class. Both together are what the service calls several thresholds."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return _number(given[0])
    pairs = [one.rpartition("=") for one in given]
    if not all(name for name, _, _ in pairs):
        raise typer.BadParameter("give one number, or class=number for each", param_hint="--threshold")
    return {name: _number(value) for name, _, value in pairs}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number", param_hint="--threshold") from None
