"""Interleaved timing of two callables, and the table and closing line every benchmark prints."""

import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

console = Console()


def interleaved(
    ours: Callable[[], object], reference: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of each call, A B A B …, after one uncounted round; drift of the machine meets both alike."""
    ours()
    reference()
    a: list[float] = []
    b: list[float] = []
    for _ in range(rounds):
        for call, seconds in ((ours, a), (reference, b)):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return a, b


def report(
    name: str,
    goal: float,
    rows: list[tuple[str, list[float], list[float]]],
    *,
    unit: str = "ms",
    in_a_second: float = 1e3,
) -> bool:
    """Print a row per case and the closing line; the ratio is reference over ours, pair by pair, its median.

    The closing line takes the worst case. Returns whether the goal is met.
    """
    table = Table("case", f"ours, {unit}", f"reference, {unit}", "ratio", title=name, title_justify="left")
    ratios = []
    for case, ours, reference in rows:
        ratio = statistics.median(b / a for a, b in zip(ours, reference, strict=True))
        ratios.append(ratio)
        table.add_row(
            case,
            f"{statistics.median(ours) * in_a_second:.1f}",
            f"{statistics.median(reference) * in_a_second:.1f}",
            f"{ratio:.3f}",
        )
    console.print(table)
    worst = min(ratios)
    print(f"name={name} ratio={worst:.3f} goal={goal} {'pass' if worst >= goal else 'short'}", flush=True)
    return worst >= goal
