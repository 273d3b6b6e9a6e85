"""`harmonicdet jobs`, and what `train` and others share with it: following a job to its end."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harmonicdet.commands.shared import (
    Json,
    Limit,
    Url,
    ago,
    asked,
    listed,
    metrics_line,
    print_json,
    show,
    waiting_for,
)

if TYPE_CHECKING:
    from harmonicdet.client import Client, Job

app = typer.Typer(help="Lists, follows, pauses, cancels and retries jobs.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="Id of the job, `job_…`.")]


@app.command("list")
def list_(
    status: Annotated[
        str | None, typer.Option(help="Only those: queued, running, paused, succeeded, failed, cancelled.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only those: train, evaluate, compare, search, validate.")
    ] = None,
    limit: Limit = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Lists jobs, the newest first."""
    from harmonicdet.client.progress import detail

    with asked(url) as client:
        wanted: dict[str, Any] = {"status": status, "kind": kind}
        listed(
            client.jobs.list(limit=limit, **wanted),
            as_json,
            ["id", "kind", "status", "phase", "progress", "made"],
            lambda one: [one.id, one.kind, one.status, one.phase, detail(one.raw), ago(one.created_at)],
        )


@app.command("show")
def show_(job: Id, url: Url = None, as_json: Json = False) -> None:
    """Shows a job: how far it is, what came out, why it failed."""
    with asked(url) as client:
        found = client.jobs.get(job)
        show(found, as_json, lambda: lines(found))


@app.command()
def follow(job: Id, url: Url = None, as_json: Json = False) -> None:
    """Follows a job to its end; with --json prints its state, one object a line, whenever it changes."""
    with asked(url) as client:
        ended = followed(client, client.jobs.get(job), as_json)
        if not as_json:
            show(ended, as_json, lambda: lines(ended))


@app.command()
def logs(job: Id, url: Url = None) -> None:
    """Prints the end of a job's log."""
    with asked(url) as client:
        typer.echo(client.jobs.logs(job), nl=False)


@app.command()
def events(
    job: Id,
    keep_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    after: Annotated[int, typer.Option(help="Only those after this number.", min=0)] = 0,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Prints what has happened to a job; with --json one object a line."""
    with asked(url) as client, waiting_for(job, f"harmonicdet jobs events {job} --follow"):
        for event in client.jobs.events(job, follow=keep_on, after=after):
            if as_json:
                print_json(event.raw, line=True)
            else:
                told = "  ".join(f"{name}={value}" for name, value in event.data.items())
                typer.echo(f"{event.created_at:%H:%M:%S}  {event.id:>5}  {event.type:<16} {told}".rstrip())


@app.command()
def metrics(
    job: Id,
    split: Annotated[
        str | None, typer.Option(help="`train` for the steps of training, else the evaluated one.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Prints the numbers of training steps and evaluations."""
    with asked(url) as client:
        listed(
            client.jobs.metrics(job, split=split),
            as_json,
            ["split", "step", "epoch", "values"],
            lambda one: [
                *(one.split, one.step, f"{one.epoch:.2f}"),
                "  ".join(
                    f"{name} {value:.4g}" for name, value in one.values.items() if isinstance(value, float)
                ),
            ],
        )


def _action(name: str, sentence: str) -> None:
    def act(job: Id, url: Url = None, as_json: Json = False) -> None:
        with asked(url) as client:
            asks: Callable[[str], Job] = getattr(client.jobs, name)
            found = asks(job)
            show(found, as_json, lambda: lines(found))

    app.command(name, help=sentence)(act)


_action("cancel", "Ends a job without a result.")
_action("pause", "Keeps a training's checkpoint and frees its worker.")
_action("resume", "Queues a paused job again.")
_action("stop", "Ends a training now, with a model.")
_action("retry", "Queues a failed or cancelled job again, from its last checkpoint.")


def followed(client: "Client", job: "Job", as_json: bool) -> "Job":
    """The job when it has succeeded; a bar on a terminal, else a line for each change. Raises `JobFailed`."""
    from harmonicdet.client.progress import Watcher

    with waiting_for(job.id, f"harmonicdet jobs follow {job.id}"):
        progress: bool | Watcher = sys.stderr.isatty()
        if as_json:
            progress = _told_as_json
        elif not progress:
            progress = _Lines()
        return client.jobs.wait(job, progress=progress)


def _told_as_json(state: dict[str, Any]) -> None:
    print_json(state, line=True)


class _Lines:
    """A line on standard error whenever the status, phase, epoch or attempt is another."""

    def __init__(self) -> None:
        self._last: object = None

    def __call__(self, state: dict[str, Any]) -> None:
        from harmonicdet.client.progress import detail

        key = state["status"], state["phase"], (state["progress"] or {}).get("epoch"), state["attempt"]
        if key != self._last:
            typer.echo(f"{state['phase'] or state['status']:<11} {detail(state)}".rstrip(), err=True)
        self._last = key


def lines(job: "Job") -> list[tuple[str, object]]:
    """A job for people."""
    from harmonicdet.client.progress import detail

    error = job.error
    return [
        ("id", job.id),
        ("kind", job.kind),
        ("status", job.status + (f" ({job.status_reason})" if job.status_reason else "")),
        ("phase", job.phase),
        ("progress", detail(job.raw)),
        ("asked for", job.requested_action),
        ("best", metrics_line(None if job.metrics.best is None else job.metrics.best.raw)),
        ("model", job.model_id),
        ("evaluation", job.evaluation_id),
        ("worker", job.worker),
        ("error", None if error is None else " ".join(part for part in (error.detail, error.hint) if part)),
    ]
