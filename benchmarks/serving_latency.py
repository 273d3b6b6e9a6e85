"""How long predictions wait, how much memory they take, and what loading another model does to them.

Twice as many connections as cores, each asking again once answered:

- `serving_latency`: the 99th percentile of the wait against twice the median; goal 1.
- `serving_memory`: 350 MiB against the resident memory of the API process with one model; goal 1.
- `serving_loads`: the 99th percentile while other models are loaded, one after the other, against that
  without. A load takes a core from those that predict, so the goal is 0.5: half the cores' worth.

`--growth` shows what many stored models cost: predictions with one of them, the list of them, and the memory
of the process when all have been asked for.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.harness import console, report
from benchmarks.http_load import Server, answer, load, request
from benchmarks.served_model import Files, api, asked, cores, picture, stored, written

REQUESTS = 300  # of a round
ROUNDS = 5
LOADED = 8  # other models, in each round; more than are kept, so that each is loaded anew
MEMORY_MIB = 350
MANY = 50


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--growth", action="store_true")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, jpeg = written(folder), picture()
        if told.growth:
            _growth(folder, files, jpeg, told.requests)
            return True
        models = stored(folder / "data", files, 1 + LOADED)
        with api(folder / "data", folder / "api.log") as server:
            return _measured(server, [asked(model, jpeg) for model in models], told.requests, told.rounds)


def _measured(server: Server, asks: Sequence[bytes], total: int, rounds: int) -> bool:
    first, *others = asks
    load(server, [first], total=2 * cores() * 4, connections=2 * cores(), status=200)
    _waits(server, first, total)
    resident = _mebibytes(server)
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(_waits(server, first, total))
        with _loading(server, others):
            beside.append(_waits(server, first, total))
    case = f"{2 * cores()} connections, {cores()} cores"
    ends, middles = [_p99(one) for one in alone], [2 * statistics.median(one) for one in alone]
    met = report("serving_latency", 1.0, [(f"{case}: p99, and twice the median", ends, middles)])
    met &= report(
        "serving_memory",
        1.0,
        [("resident with one model, and the goal", [resident], [MEMORY_MIB])],
        unit="MiB",
        in_a_second=1,
    )
    rows = [(f"{case}: p99 while models are loaded, and without", [_p99(one) for one in beside], ends)]
    return met & report("serving_loads", 0.5, rows)


class _loading:  # noqa: N801 - used as a with statement
    """Other models are asked for meanwhile, one after the other, and each has to be loaded."""

    def __init__(self, server: Server, asks: Sequence[bytes]) -> None:
        self._server = server
        self._asks = asks
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            for ask in self._asks:
                if self._over.is_set():
                    return
                status, _, body = answer(self._server.port, ask)
                if status != 200:
                    raise RuntimeError(f"answered {status}: {body[:500]!r}")


def _waits(server: Server, ask: bytes, total: int) -> list[float]:
    return load(server, [ask], total=total, connections=2 * cores(), status=200).waits


def _p99(waits: Sequence[float]) -> float:
    return statistics.quantiles(waits, n=100)[98]


def _mebibytes(server: Server) -> float:
    return float(server.process.memory_info().rss) / 2**20


def _growth(folder: Path, files: Files, jpeg: bytes, total: int) -> None:
    table = Table("models stored", "ms of a prediction", "ms CPU", "ms CPU of a list", title="models")
    table.add_column("MiB, one asked for")
    table.add_column("MiB, all asked for twice")
    for count in (1, MANY):
        data = folder / f"data-{count}"
        asks = [asked(model, jpeg) for model in stored(data, files, count)]
        with api(data, folder / "api.log") as server:
            load(server, asks[:1], total=16, connections=1, status=200)
            cost = load(server, asks[:1], total=total, connections=1, status=200)
            one = _mebibytes(server)
            listed = load(server, [request("/v1/models?limit=100")], total=100, connections=1, status=200)
            load(server, asks, total=2 * count, connections=1, status=200)
            time.sleep(0.5)
            figures = [statistics.median(cost.waits), cost.cpu_seconds, listed.cpu_seconds]
            table.add_row(
                str(count), *(f"{1e3 * x:.2f}" for x in figures), f"{one:.0f}", f"{_mebibytes(server):.0f}"
            )
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
