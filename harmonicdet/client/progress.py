"""How far something is: a sentence, and a bar on the screen or in a notebook."""

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

FINISHED = ("succeeded", "failed", "cancelled")

Watcher = Callable[[dict[str, Any]], None]


def bar() -> "ScreenBar | NotebookBar":
    """A bar for a job, a dataset, a comparison or a search: enter it, and call it with each state."""
    from rich.console import Console

    console = Console(stderr=True)
    return NotebookBar() if console.is_jupyter else ScreenBar(console)


class ScreenBar:
    """On standard error."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
        )
        self._task = self._progress.add_task("", total=1.0, detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, state: dict[str, Any]) -> None:
        self._progress.update(
            self._task, description=_doing(state), completed=_fraction(state), detail=detail(state)
        )


class NotebookBar:
    """Below the cell, in its own place; needs no widgets."""

    def __enter__(self) -> Self:
        import IPython.display

        display: Any = IPython.display.display
        self._place = display({"text/plain": ""}, raw=True, display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        """What was shown last stays."""

    def __call__(self, state: dict[str, Any]) -> None:
        doing, told = _doing(state), detail(state)
        bar = f'<progress value="{_fraction(state):.4f}" max="1"></progress>'
        page = f"<div>{escape(doing)} {bar} {escape(told)}</div>"
        self._place.update({"text/plain": f"{doing}  {told}".rstrip(), "text/html": page}, raw=True)


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


def _is_over(state: Mapping[str, Any]) -> bool:
    return state["status"] in (*FINISHED, "ready", "invalid")


def _doing(state: Mapping[str, Any]) -> str:
    return str(state["status"] if _is_over(state) else state.get("phase") or state["status"])


def _fraction(state: Mapping[str, Any]) -> float:
    return 1.0 if _is_over(state) else (state.get("progress") or {}).get("fraction") or 0.0
