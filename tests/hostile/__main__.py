"""`python -m tests.hostile`: everything of this package against the real service, with its memory watched.

The requests go to the API as a process, on a store that has something of everything; the archives to the
whole of `harmonicdet up`, whose worker validates them. Prints a table by category and writes it to
docs/security-battery.md. 1 when anything was not as it must be.
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from api.settings import Settings, server_secret
from store.sessions import Database
from tests.acceptance.service import RunningService
from tests.hostile.datasets import DatasetCase, dataset_cases
from tests.hostile.requests import RequestCase, request_cases
from tests.hostile.seeded import SeededApi, fill, new_key
from tests.hostile.test_requests import fault_of

SECONDS = 10.0
START_SECONDS = 600.0  # a long battery may run beside others
MEMORY_BYTES = 512 << 20
LEAST_CASES = 800
REPORT = Path(__file__).parents[2] / "docs" / "security-battery.md"
MALFORMED = "malformed HTTP, refused by uvicorn itself"


@dataclass
class Tally:
    """What happened in one category."""

    cases: int = 0
    slowest: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)


class Memory:
    """How far the resident bytes of any watched process, or of its children, have risen above their start."""

    def __init__(self) -> None:
        self._start: dict[int, int] = {}
        self.most = 0

    @contextmanager
    def watched(self, parent: psutil.Process) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(parent, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self, parent: psutil.Process, over: threading.Event) -> None:
        while not over.wait(0.1):
            for process in [parent, *parent.children(recursive=True)]:
                try:
                    resident = process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                # A process that validates one archive and ends is measured from nothing.
                start = self._start.setdefault(process.pid, resident)
                self.most = max(self.most, resident - start)


@dataclass
class Battery:
    """What was tried, and what was not as it must be."""

    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    wrong: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)

    def count(self, category: str, started: float, fault: str | None, status: int | None = None) -> None:
        tally = self.tallies[category]
        tally.cases += 1
        tally.slowest = max(tally.slowest, time.monotonic() - started)
        if status is not None:
            tally.statuses[status] += 1
        self.wrong += [fault] if fault else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every n-th archive only")
    options = parser.parse_args(arguments)
    battery = Battery()
    elsewhere = _elsewhere()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _send_requests(battery, folder / "asked")
        _upload_archives(battery, folder / "data", options.every)
        mine = {folder / part for part in ("asked", "asked.log", "data", "data.log")}
        strays = {path for path in folder.iterdir() if path not in mine} | {
            path for path, *_ in _elsewhere() - elsewhere
        }
        if strays:
            battery.wrong.append(f"written outside of the data directories: {sorted(map(str, strays))}")
    _judge(battery, whole=options.every == 1)
    _say(battery)
    return 1 if battery.wrong else 0


def _elsewhere() -> set[tuple[Path, int, int]]:
    """Files, their sizes and times, where the names in the archives would lead if they were paths."""
    here = Path.cwd()
    folders = [folder for folder in (Path("/"), Path("/etc"), Path("/windows")) if folder.is_dir()]
    found = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    for folder in (here, here.parent, here.parent.parent):
        names = ("escape.txt", "x.txt", "special", "link")
        found += [folder / name for name in names if (folder / name).exists()]
    return {(path, path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def _send_requests(battery: Battery, data: Path) -> None:
    with SeededApi(data) as api:
        made = fill(api, api.key())
        names = {"{dataset}": made["dataset_id"], "{job}": made["job_id"], "{model}": made["model_id"]}
        statuses: list[int] = []
        api.client.event_hooks["response"] = [lambda answer: statuses.append(answer.status_code)]
        with battery.memory.watched(api.process):
            for case in request_cases():
                started = time.monotonic()
                if case.malformed:
                    battery.count(MALFORMED, started, _door_fault(case, api), 400)
                    continue
                fault = fault_of(case, api.client, names)
                battery.count(f"request: {case.category}", started, fault, statuses[-1])
        _ask_how_it_is(battery, api.client)


def _door_fault(case: RequestCase, api: SeededApi) -> str | None:
    """What is wrong with the answer to what is no HTTP: the server has to refuse it and hang up.

    The application never sees such a request, so that the answer is no problem object and has no request id.
    """
    lines = [
        f"{case.method} {case.path} HTTP/1.1",
        "Host: localhost",
        *(f"{name}: {value}" for name, value in case.headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", api.port), timeout=SECONDS) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while chunk := connection.recv(4096):  # to the end: the server closes the connection
            answer += chunk
    head = answer.split(b"\r\n\r\n")[0].lower()
    if not head.startswith(b"http/1.1 400 ") or b"connection: close" not in head or b"x-request-id" in head:
        return f"{case.category}, {case.name}: {answer[:200]!r}"
    return None


def _upload_archives(battery: Battery, data: Path, every: int) -> None:
    environment = {"HARMONICDET_RATE_LIMIT": "off", "HARMONICDET_REQUIRE_KEYS": "1"}
    with RunningService(data, environment=environment, start_seconds=START_SECONDS) as service:
        settings = Settings(data=data)
        database = Database(settings.database_url)
        key = new_key(settings, database)
        database.dispose()
        service.client.headers["Authorization"] = f"Bearer {key}"
        with battery.memory.watched(service.parent):
            for number, archive in enumerate(dataset_cases()):
                if number % every:
                    continue
                started = time.monotonic()
                fault, status = _uploaded(service, archive)
                battery.count(f"archive: {archive.category}", started, fault, status)
        _ask_how_it_is(battery, service.client)
    secrets = (key.rpartition("_")[2], server_secret(settings).decode())
    for log in (*(data / "logs").rglob("*.log*"), *(data / "runs").rglob("*.log"), data.with_suffix(".log")):
        if any(secret in log.read_text(errors="replace") for secret in secrets):
            battery.wrong.append(f"{log.name} has a secret in it")


def _uploaded(service: RunningService, case: DatasetCase) -> tuple[str | None, int]:
    """What is wrong with how the service takes this archive, and the status of its first answer."""
    what = f"{case.category}, {case.name}"
    answer = service.client.post(
        "/v1/datasets?name=hostile", content=case.archive, headers={"Content-Type": "application/zip"}
    )
    status = answer.status_code
    if status >= 500:
        return f"{what}: {status} {answer.text[:200]}", status
    if status != 202:
        problem = answer.json()
        told = problem.get("code") and problem.get("detail")
        return None if told else f"{what}: {answer.text[:200]}", status
    dataset_id = answer.json()["id"]
    found: dict[str, Any] = service.until(lambda: _settled(service, dataset_id), START_SECONDS)
    report = service.get(f"/v1/datasets/{dataset_id}/report?limit=100")
    codes = {finding["code"] for finding in report["data"]}
    service.client.delete(f"/v1/datasets/{dataset_id}")
    if found["status"] == "invalid" and not (found["error"] and found["error"]["detail"]):
        return f"{what}: invalid, and no word why", status
    if case.codes and not codes & case.codes:
        return f"{what}: found {sorted(codes)}, not {sorted(case.codes)}", status
    return None, status


def _settled(service: RunningService, dataset_id: str) -> dict[str, Any] | None:
    found = service.get(f"/v1/datasets/{dataset_id}")
    return None if found["status"] == "validating" else found


def _ask_how_it_is(battery: Battery, client: httpx.Client) -> None:
    status = client.get("/readyz").status_code
    if status != 200:
        battery.wrong.append(f"the service is not well afterwards: {status}")


def _judge(battery: Battery, *, whole: bool) -> None:
    if battery.memory.most > MEMORY_BYTES:
        battery.wrong.append(f"memory grew by {battery.memory.most >> 20} MB")
    for name, tally in battery.tallies.items():
        if tally.slowest > SECONDS:
            battery.wrong.append(f"{name}: one took {tally.slowest:.1f} s")
    total = sum(tally.cases for tally in battery.tallies.values())
    if whole and total < LEAST_CASES:
        battery.wrong.append(f"{total} cases are too few")


def _say(battery: Battery) -> None:
    table = Table("category", "cases", "slowest", "statuses", box=None)
    lines = ["| category | cases | slowest | statuses |", "|---|---|---|---|"]
    statuses: Counter[int] = Counter()
    for name, tally in battery.tallies.items():
        row = (name, str(tally.cases), f"{tally.slowest:.2f} s", _counted(tally.statuses))
        table.add_row(*row)
        lines.append(f"| {' | '.join(row)} |")
        statuses += tally.statuses
    total = sum(tally.cases for tally in battery.tallies.values())
    verdict = (
        f"{total} cases, {len(battery.wrong)} not as they must be; answers by status: {_counted(statuses)}; "
        f"memory at most {battery.memory.most >> 20} MB above its start"
    )
    console = Console(width=140)
    console.print(table)
    for one in battery.wrong:
        console.print(one, markup=False)
    console.print(verdict)
    head = f"""# The battery of hostile input

`python -m tests.hostile`, {datetime.now(UTC):%Y-%m-%d}: {verdict}.

The time of an archive is that of its upload, its validation by a worker and its report. Malformed HTTP never
reaches the application: the server answers 400, without a problem object, and hangs up.
"""
    REPORT.write_text("\n".join([head, *lines, "", *(f"- {one}" for one in battery.wrong)]).rstrip() + "\n")


def _counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))


if __name__ == "__main__":
    sys.exit(main())
