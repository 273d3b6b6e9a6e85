"""Interleaved timing of two callables, and the table and closing line every benchmark prints."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

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


@contextmanager
def in_its_own_process(
    make: Callable[..., Callable[[], Any]], *arguments: object
) -> Iterator[Callable[[], Any]]:
    """What `make(*arguments)` gives, in a new process, whose threads and memory nobody else shares.

    `make` must be found by its name. A call returns what the one over there does; an error there ends it.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
    process.start()
    there.close()

    def call() -> Any:
        here.send(None)
        return here.recv()

    try:
        yield call
    finally:
        here.close()
        process.join(timeout=30)


def _serve(asked: Connection, make: Callable[..., Callable[[], Any]], arguments: tuple[object, ...]) -> None:
    call = make(*arguments)
    while True:
        try:
            asked.recv()
        except EOFError:
            return
        asked.send(call())


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
