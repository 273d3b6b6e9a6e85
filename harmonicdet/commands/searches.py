"""`harmonicdet search`, `searches`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonicdet.commands.shared import (
    FAILED,
    Json,
    Limit,
    Url,
    Yes,
    ago,
    asked,
    config_file,
    confirmed,
    listed,
    print_json,
    settings,
    show,
    value,
    waiting_for,
)

if TYPE_CHECKING:
    from harmonicdet.client import SearchDetail
    from harmonicdet.client.shapes import SearchView, TrialView

app = typer.Typer(help="Lists, shows, pauses, cancels and retries searches.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="Id of the search, `srch_…`.")]


def search(
    dataset: Annotated[str, typer.Argument(help="Id of the dataset, `ds_…`.")],
    space: Annotated[
        list[str],
        typer.Option(
            "--space",
            "-s",
            help="What a field may be: `optimizer.lr=0.001..0.1:log`, `batch_size=4..32:4` (in steps of 4), "
            "`loss=harmonic,baseline`; between whole numbers there are whole numbers only; repeated.",
        ),
    ],
    config: Annotated[
        Path | None, typer.Option(help="JSON file with what all have in common.", exists=True, dir_okay=False)
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A field of what all have in common.")
    ] = None,
    max_trials: Annotated[int | None, typer.Option(help="Most trainings; by default 20.", min=1)] = None,
    max_parallel: Annotated[int | None, typer.Option(help="How many at a time; by default 1.", min=1)] = None,
    metric: Annotated[str | None, typer.Option(help="What is to be large; by default AP.")] = None,
    pruning: Annotated[bool, typer.Option(help="End trials early that others are better than.")] = True,
    seed: Annotated[
        int | None, typer.Option(help="What the sampler draws from; by default 0.", min=0)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the search.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for its end.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Trains with one config after another, and says which is the best."""
    common = config_file(config)
    common |= settings(changes or [])
    options: dict[str, Any] = {"max_trials": max_trials, "max_parallel": max_parallel, "metric": metric}
    options |= {"pruning": pruning, "seed": seed, "name": name}
    wanted = _space(space)
    with asked(url) as client:
        begun = client.search(dataset, wanted, config=common, **options)
        if follow:
            with waiting_for(begun.id, f"harmonicdet searches show {begun.id}"):
                begun = begun.wait(progress=not as_json)
        show(begun, as_json, lambda: _detail(begun))


@app.command("list")
def list_(limit: Limit = 20, url: Url = None, as_json: Json = False) -> None:
    """Lists searches, the newest first."""
    with asked(url) as client:
        listed(
            client.searches.list(limit=limit),
            as_json,
            ["id", "name", "status", "progress", "best", "made"],
            lambda one: [
                *(one.id, one.name, one.status, f"{one.progress.fraction:.0%}"),
                *(_best(one), ago(one.created_at)),
            ],
        )


@app.command("show")
def show_(search: Id, url: Url = None, as_json: Json = False) -> None:
    """Shows a search: its trials, what matters, and the best."""
    with asked(url) as client:
        found = client.searches.get(search)
        show(found, as_json, lambda: _detail(found))


@app.command()
def best(search: Id, url: Url = None) -> None:
    """Prints the whole config of the best trial, for `harmonicdet train --config`."""
    with asked(url) as client:
        found = client.searches.get(search)
    if found.best_config is None:
        typer.echo(f"harmonicdet: no trial of {found.id} has succeeded ({found.status}).", err=True)
        raise typer.Exit(FAILED)
    print_json(found.best_config)


@app.command()
def delete(search: Id, yes: Yes = False, url: Url = None) -> None:
    """Deletes a search that has ended; its jobs and models stay."""
    confirmed(f"Delete {search}", yes)
    with asked(url) as client:
        client.searches.delete(search)


def _action(name: str, sentence: str) -> None:
    def act(search: Id, url: Url = None, as_json: Json = False) -> None:
        with asked(url) as client:
            asks: Callable[[str], SearchDetail] = getattr(client.searches, name)
            found = asks(search)
            show(found, as_json, lambda: _detail(found))

    app.command(name, help=sentence)(act)


_action("cancel", "Ends its jobs, and begins no further one.")
_action("pause", "Pauses its trials, and begins no further one.")
_action("resume", "Goes on after a pause.")
_action("retry", "Queues its failed and cancelled trials again.")


def _space(pairs: Iterable[str]) -> dict[str, Any]:
    space = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not name=values", param_hint="--space")
        space[name] = _range(text) if ".." in text else _choices(text)
    return space


def _range(text: str) -> dict[str, Any]:
    """`0.001..0.1:log`, `4..32`, `4..32:4`."""
    ends, _, how = text.partition(":")
    low, _, high = (value(end) for end in ends.partition(".."))
    step = value(how)
    is_step = isinstance(step, int | float) and not isinstance(step, bool)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not (how in ("", "log") or is_step):
        raise typer.BadParameter(
            f"{text!r} is no range: low..high, low..high:log or low..high:step", param_hint="--space"
        )
    whole = isinstance(low, int) and isinstance(high, int)
    found = {"kind": "int" if whole else "float", "low": low, "high": high}
    return found | ({"log": True} if how == "log" else {"step": step} if is_step else {})


def _choices(text: str) -> dict[str, Any]:
    return {"kind": "categorical", "choices": [value(one) for one in text.split(",")]}


def _detail(one: "SearchDetail") -> list[tuple[str, object]]:
    at = one.progress
    told = f"{at.succeeded} of {one.max_trials} trials, {at.pruned} pruned, {at.failed} failed"
    shares = (one.importances or {}).items()
    return [
        ("id", one.id),
        ("name", one.name),
        ("status", one.status),
        ("progress", told),
        ("asked for", one.requested_action),
        *((f"  {trial.number}", _trial(trial, one.metric)) for trial in one.trials),
        ("best", _best(one)),
        ("matters", ", ".join(f"{name} {share:.0%}" for name, share in shares)),
        ("model", None if one.best is None else one.best.model_id),
        ("error", None if one.error is None else one.error.detail),
    ]


def _trial(one: "TrialView", metric: str) -> str:
    what = one.status_reason if one.status == "cancelled" and one.status_reason else one.status
    return f"{what if one.value is None else f'{metric} {one.value:.3f}'}  {_params(one.params)}"


def _best(one: "SearchView | SearchDetail") -> str:
    return "" if one.best is None else f"{one.metric} {one.best.value:.3f}  {_params(one.best.params)}"


def _params(params: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={given:.4g}" if isinstance(given, float) else f"{name}={given}"
        for name, given in params.items()
    )
