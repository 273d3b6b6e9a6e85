"""Waits for something to end, and shows how far it is."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harmonicdet.client.errors import ConnectionFailed, ServiceFailed, WaitTimedOut

if TYPE_CHECKING:
    from rich.console import Console

    from harmonicdet.client.transport import Transport

FINISHED = ("succeeded", "failed", "cancelled")
_SHORTEST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0
_PATIENCE_SECONDS = 300.0  # a service that is being restarted does not end the waiting

Watcher = Callable[[dict[str, Any]], None]


def states(
    transport: "Transport",
    operation: str,
    path: Mapping[str, Any],
    *,
    ended: Callable[[dict[str, Any]], bool],
    timeout: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[str, Any]]:
    """Each state that differs from the one before, the first at once, the one for which `ended` last.

    Raises `WaitTimedOut` after `timeout` seconds, and what `Transport.ask` raises.
    """
    began = heard = clock()
    etag, pause = "", _SHORTEST_SECONDS
    while True:
        try:
            response = transport.ask(operation, path, headers={"If-None-Match": etag} if etag else {})
        except (ConnectionFailed, ServiceFailed):
            if clock() - heard > _PATIENCE_SECONDS or not etag:
                raise
        else:
            heard = clock()
            if response.status_code == 200:
                etag, pause = response.headers.get("etag", ""), _SHORTEST_SECONDS
                state: dict[str, Any] = response.json()
                yield state
                if ended(state):
                    return
        if timeout is not None and clock() - began + pause > timeout:
            raise WaitTimedOut(f"{next(iter(path.values()))} has not ended after {timeout:g} s; it goes on.")
        transport.sleep(pause)
        pause = min(_LONGEST_SECONDS, pause * 1.5)


def watch(found: Iterator[dict[str, Any]], progress: "bool | Watcher") -> dict[str, Any]:
    """The last state. `progress`: True for a bar on the screen or in the notebook, or what is told each."""
    last: dict[str, Any] = {}
    if progress is True:
        with Bar() as bar:
            for last in found:
                bar(last)
        return last
    for last in found:
        if callable(progress):
            progress(last)
    return last


class Bar:
    """A bar for a job, a dataset, a comparison or a search, on standard error."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console or Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=1.0, detail="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, state: dict[str, Any]) -> None:
        at = state.get("progress") or {}
        is_over = state["status"] in (*FINISHED, "ready", "invalid")
        self._progress.update(
            self._task,
            description=state["status"] if is_over else state.get("phase") or state["status"],
            completed=1.0 if is_over else at.get("fraction") or 0.0,
            detail=detail(state),
        )


def detail(state: Mapping[str, Any]) -> str:
    """How far it is, in a line: `epoch 3/12  step 91/312  loss 3.210  AP50 0.431  2 min left`."""
    at = state.get("progress") or {}
    parts = [
        f"{name} {at[name]}/{at[several]}"
        for name, several in (("epoch", "epochs"), ("step", "steps"))
        if at.get(name) is not None and at.get(several) is not None
    ]
    if "trainings" in at:
        parts.append(f"{at['succeeded']} of {at['trainings']} trainings")
    if "max_trials" in state:
        parts.append(f"{at['succeeded']} of {state['max_trials']} trials")
        parts += [f"{at[name]} {name}" for name in ("pruned", "failed") if at[name]]
        if state["best"] is not None:
            parts.append(f"best {state['metric']} {state['best']['value']:.3f}")
    last = (state.get("metrics") or {}).get("last") or {}
    parts += [f"{name} {last[name]:.3f}" for name in ("loss", "AP", "AP50") if last.get(name) is not None]
    if state.get("attempt", 0) > 1:
        parts.append(f"attempt {state['attempt']}")
    if state["status"] == "queued" and state.get("waiting_for"):
        place = f", {state['queue_position']} in the queue" if state.get("queue_position") else ""
        parts.append(f"waits for {state['waiting_for'].replace('_', ' ')}{place}")
    if at.get("eta_seconds") and state["status"] == "running":
        parts.append(f"{duration(at['eta_seconds'])} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Such as `45 s`, `2 min`, `1 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
