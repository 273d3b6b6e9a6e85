"""`harmonicdet train`: from a dataset, or its zip, to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmonicdet.commands import datasets, jobs
from harmonicdet.commands.shared import Json, Url, asked, config_file, megabytes, settings, show

if TYPE_CHECKING:
    from harmonicdet.client import Client
    from harmonicdet.client.shapes import JobPlan, MemoryView, TimeView

_NUMBERS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")


def train(
    dataset: Annotated[str, typer.Argument(help="Id of a dataset (`ds_…`), or a zip or folder to upload.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="Detector to train.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="harmonic or baseline.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.", min=1)] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with a whole config.", exists=True, dir_okay=False)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the config, such as optimizer.kind=adamw; repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "--watch", "-f", help="Follow it to its end, and print its mAP.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would be.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Starts a training. Ctrl-C while following leaves it running."""
    said = {"architecture": architecture, "loss": loss, "epochs": epochs}
    chosen = config_file(config)
    chosen |= {key: value for key, value in said.items() if value is not None} | settings(changes or [])
    with asked(url) as client:
        dataset_id = _dataset(client, dataset)
        if dry_run:
            plan = client.plan(dataset_id, **chosen)
            show(plan, as_json, lambda: _plan(plan))
            return
        job = client.train(dataset_id, name=name, **chosen)
        if not follow:
            show(job, as_json, lambda: jobs.lines(job))
            return
        if not as_json:
            typer.echo(f"{job.id} trains on {dataset_id}", err=True)
        ended = jobs.followed(client, job, as_json)
        if not as_json:
            model = ended.model()
            numbers = [(number, model.metrics.get(number)) for number in _NUMBERS]
            show(model, as_json, lambda: [("model", model.id), ("name", model.name), *numbers])


def _dataset(client: "Client", named: str) -> str:
    """The id; a path is uploaded first, and validated."""
    path = Path(named)
    if named.startswith("ds_") and not path.exists():
        return named
    return datasets.validated(client, datasets.sent(client, path)).id


def _plan(plan: "JobPlan") -> list[tuple[str, object]]:
    disk, memory, time = plan.disk, plan.memory, plan.time
    return [
        ("dataset", f"{plan.dataset_id} ({plan.dataset_status})"),
        ("steps", None if plan.steps is None else f"{plan.steps}, {plan.steps_per_epoch} an epoch"),
        (
            "disk",
            None if disk is None else f"{megabytes(disk.total_bytes)} of {megabytes(disk.free_bytes)} free",
        ),
        ("memory", None if memory is None else _memory(memory)),
        ("time", None if time is None else _time(time)),
        *(("warning", one.detail) for one in plan.warnings or []),
    ]


def _memory(told: "MemoryView") -> str:
    network, images = megabytes(told.state_bytes), megabytes(told.images_bytes)
    return f"{network} for the network, {images} for images, and what a batch takes"


def _time(told: "TimeView") -> str:
    from harmonicdet.client.progress import duration

    return f"about {duration(told.seconds)}, as {len(told.trainings)} like it took"
