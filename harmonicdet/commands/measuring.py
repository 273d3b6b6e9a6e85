"""`harmonicdet evaluate`, `evaluations`, `compare`, `comparisons`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmonicdet.commands.shared import (
    Json,
    Limit,
    Url,
    Yes,
    ago,
    asked,
    config_file,
    confirmed,
    listed,
    metrics_line,
    settings,
    show,
    waiting_for,
)

if TYPE_CHECKING:
    from harmonicdet.client import ComparisonDetail
    from harmonicdet.client.shapes import ComparisonDetailView, EvaluationDetailView, EvaluationView

evaluations = typer.Typer(help="Lists and shows evaluations.", no_args_is_help=True)
comparisons = typer.Typer(help="Lists, shows, pauses, cancels and retries comparisons.", no_args_is_help=True)
EvaluationId = Annotated[str, typer.Argument(help="Id of the evaluation, `evl_…`.")]
ComparisonId = Annotated[str, typer.Argument(help="Id of the comparison, `cmp_…`.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Wait for its end.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="Id or alias of the model, or a file of COCO results (JSON).")],
    dataset: Annotated[str, typer.Argument(help="Id of the dataset, `ds_…`.")],
    split: Annotated[str | None, typer.Option(help="By default val, else test, else the only one.")] = None,
    follow: Follow = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Measures a model, or detections of any program, on a dataset."""
    with asked(url) as client:
        source = Path(model)
        if source.suffix == ".json" and source.exists():
            begun = client.evaluations.of_detections(source, dataset, split=split)
        else:
            begun = client.evaluate(model, dataset, split=split)
        if not follow:
            show(begun, as_json, lambda: _evaluation(begun))
            return
        with waiting_for(begun.id, f"harmonicdet evaluations show {begun.id}"):
            ended = begun.wait()
        show(ended, as_json, lambda: _evaluation(ended))


@evaluations.command("list")
def list_evaluations(
    model: Annotated[str | None, typer.Option(help="Only those of this model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only those on this dataset.")] = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Lists evaluations, the newest first."""
    with asked(url) as client:
        listed(
            client.evaluations.list(model=model, dataset=dataset, limit=limit),
            as_json,
            ["id", "status", "source", "model", "split", "metrics", "made"],
            lambda one: [
                *(one.id, one.status, one.source, one.model_id, one.split),
                *(metrics_line(one.metrics), ago(one.created_at)),
            ],
        )


@evaluations.command("show")
def show_evaluation(evaluation: EvaluationId, url: Url = None, as_json: Json = False) -> None:
    """Shows an evaluation, class by class; --json has every measure."""
    with asked(url) as client:
        found = client.evaluations.get(evaluation)

        def lines() -> list[tuple[str, object]]:
            per_class = found.bbox.per_class if found.bbox is not None else []
            rows = [(f"  {one.name}", f"AP {_number(one.AP)}  {one.boxes} objects") for one in per_class]
            spearman = found.consistency.spearman if found.consistency is not None else None
            return [*_evaluation(found), *rows, ("score against IoU", spearman)]

        show(found, as_json, lines)


@evaluations.command("delete")
def delete_evaluation(evaluation: EvaluationId, yes: Yes = False, url: Url = None) -> None:
    """Deletes an evaluation."""
    confirmed(f"Delete {evaluation}", yes)
    with asked(url) as client:
        client.evaluations.delete(evaluation)


def compare(
    dataset: Annotated[str, typer.Argument(help="Id of the dataset, `ds_…`.")],
    arms: Annotated[
        list[str], typer.Option("--arm", help="`name` or `name:field=value,…`: what it changes; repeated.")
    ],
    config: Annotated[
        Path | None, typer.Option(help="JSON file with what all have in common.", exists=True, dir_okay=False)
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A field of what all have in common.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm.", min=3)] = 3,
    name: Annotated[str | None, typer.Option(help="Name of the comparison.")] = None,
    follow: Follow = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Trains several configs with several seeds, and says whether one is better."""
    common = config_file(config)
    common |= settings(changes or [])
    named = {}
    for arm in arms:
        called, _, fields = arm.partition(":")
        named[called] = settings(fields.split(",") if fields else [], "--arm")
    with asked(url) as client:
        begun = client.compare(dataset, named, config=common, seeds=seeds, name=name)
        if follow:
            with waiting_for(begun.id, f"harmonicdet comparisons show {begun.id}"):
                begun = begun.wait(progress=not as_json)
        show(begun, as_json, lambda: _comparison(begun))


@comparisons.command("list")
def list_comparisons(limit: Limit = 20, url: Url = None, as_json: Json = False) -> None:
    """Lists comparisons, the newest first."""
    with asked(url) as client:
        listed(
            client.comparisons.list(limit=limit),
            as_json,
            ["id", "name", "status", "progress", "verdict", "made"],
            lambda one: [
                *(one.id, one.name, one.status, f"{one.progress.fraction:.0%}"),
                *(_verdict(one.verdict), ago(one.created_at)),
            ],
        )


@comparisons.command("show")
def show_comparison(comparison: ComparisonId, url: Url = None, as_json: Json = False) -> None:
    """Shows a comparison: its trainings, and the verdict."""
    with asked(url) as client:
        found = client.comparisons.get(comparison)
        show(found, as_json, lambda: _comparison(found))


@comparisons.command()
def report(
    comparison: ComparisonId,
    html: Annotated[bool, typer.Option("--html", help="A page with figures, instead of Markdown.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Prints the report, as Markdown, HTML or JSON."""
    with asked(url) as client:
        if as_json:
            show(client.comparisons.report(comparison), True, list)
        else:
            typer.echo(client.comparisons.report_as(comparison, "html" if html else "markdown"))


@comparisons.command("delete")
def delete_comparison(comparison: ComparisonId, yes: Yes = False, url: Url = None) -> None:
    """Deletes a comparison that has ended; its models stay."""
    confirmed(f"Delete {comparison}", yes)
    with asked(url) as client:
        client.comparisons.delete(comparison)


def _action(name: str, sentence: str) -> None:
    def act(comparison: ComparisonId, url: Url = None, as_json: Json = False) -> None:
        with asked(url) as client:
            asks: Callable[[str], ComparisonDetail] = getattr(client.comparisons, name)
            found = asks(comparison)
            show(found, as_json, lambda: _comparison(found))

    comparisons.command(name, help=sentence)(act)


_action("cancel", "Ends its jobs without comparing them.")
_action("pause", "Pauses every training that has not ended.")
_action("resume", "Goes on after a pause.")
_action("retry", "Queues what has failed of it again.")


def _evaluation(one: "EvaluationView | EvaluationDetailView") -> list[tuple[str, object]]:
    return [
        ("id", one.id),
        ("status", one.status),
        ("model", one.model_id),
        ("dataset", one.dataset_id),
        ("split", one.split),
        ("metrics", metrics_line(one.metrics)),
        ("error", None if one.error is None else one.error.detail),
    ]


def _comparison(one: "ComparisonDetailView") -> list[tuple[str, object]]:
    at = one.progress
    return [
        ("id", one.id),
        ("name", one.name),
        ("status", one.status),
        ("progress", f"{at.succeeded} of {at.trainings} trainings, {at.failed} failed"),
        *(
            (f"  {arm.name}", ", ".join(_run(run.metrics, run.status) for run in arm.runs))
            for arm in one.arms
        ),
        ("verdict", _verdict(one.verdict)),
        ("error", None if one.error is None else one.error.detail),
    ]


def _run(metrics: dict[str, float | None] | None, status: str) -> str:
    return status if metrics is None else f"AP {_number(metrics.get('AP'))}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _verdict(found: dict[str, str] | None) -> str:
    return ", ".join(f"{arm} {verdict}" for arm, verdict in (found or {}).items())
