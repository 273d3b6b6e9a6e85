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
Id = Annotated[str, typer.Argument(help="Id of the model (`mdl_…`), or an alias such as `production`.")]
_KINDS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


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
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.", exists=True)],
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
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Detects objects on images; with --json one object an image, one a line."""
    from harmonicdet.client import HarmonicDetError

    paths = [file for path in images for file in _files(path)]
    if not paths:
        raise typer.BadParameter("there is no image", param_hint="IMAGES")
    into_folder = draw is not None and (len(paths) > 1 or draw.is_dir())
    options: dict[str, Any] = {"classes": classes or None, "max_detections": most}
    with asked(url) as client:
        found = client.models.predict_each(model, paths, score_threshold=_thresholds(threshold), **options)
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


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.suffix.lower() in _KINDS)
    return [path]


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
