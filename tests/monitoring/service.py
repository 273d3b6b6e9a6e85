"""The real API and real workers as processes of this machine, each with a port for Prometheus."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import httpx

from api.services import Services
from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from store.blobs import open_blobs
from store.queue import Hints
from store.sessions import Database, migrate
from store.settings import StoreSettings
from tests.api.helpers import SUMMARY
from tests.monitoring.prometheus import until
from tests.servers import free_port
from tests.worker.helpers import ready_dataset
from worker.cache import DatasetCache
from worker.kinds import Workshop
from worker.settings import WorkerSettings

TIMES = {
    "HARMONICDET_HEARTBEAT_SECONDS": "1",
    "HARMONICDET_LEASE_SECONDS": "8",
    "HARMONICDET_LEASE_MARGIN_SECONDS": "3",
    "HARMONICDET_DISPATCH_SECONDS": "1",
}
# What a worker starts in place of the detector: one that breaks at once, and one that never ends.
BROKEN = {"HARMONICDET_DETECTOR_COMMAND": json.dumps([sys.executable, "-c", "raise SystemExit(1)"])}
ENDLESS = {
    "HARMONICDET_DETECTOR_COMMAND": json.dumps([sys.executable, "-c", "import time; time.sleep(3600)"])
}
_INDEX = DatasetIndex(
    format="coco",
    categories=[Category(3, "disc")],
    images=[ImageRecord(1, "train/1.jpg", "train", 4, 4, [Annotation(1, 3, (0, 0, 2, 2), 4)])],
)


@dataclass
class Part:
    """A process, and where Prometheus asks it."""

    process: subprocess.Popen[bytes]
    metrics_port: int
    log: Path

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """At once, whatever it started as well."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(20)

    def stop(self) -> None:
        """As a deploy does."""
        self.thaw()
        self.process.terminate()
        self.process.wait(40)


class Service:
    """Use as a context manager. `environment` is that of every process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._stack = ExitStack()
        self.root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="harmonicdet-alerts-")))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HARMONICDET_")}
        self.environment = (
            inherited
            | TIMES
            | {
                "HARMONICDET_DATA": str(self.root / "data"),
                "HARMONICDET_MIN_FREE_BYTES": "0",
                "OMP_NUM_THREADS": "1",
            }
            | dict(environment or {})
        )
        self.port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self._parts: list[Part] = []

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.callback(self._end)
            settings = WorkerSettings(**self._values())  # type: ignore[arg-type]  # pydantic converts
            settings.data.mkdir(exist_ok=True)
            migrate(settings.database_url)
            self.database = Database(settings.database_url)
            self._stack.callback(self.database.dispose)
            self.blobs = open_blobs(settings)
            hints = Hints(settings)
            self._stack.callback(hints.close)
            cache = DatasetCache(self.root / "cache", self.blobs)
            shop = Workshop(self.database, self.blobs, cache, hints, settings)
            self.dataset = ready_dataset(shop, "shapes", {"train/1.jpg": b"bytes"}, _INDEX, SUMMARY)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def api(self, environment: Mapping[str, str] | None = None, *, metrics_port: int) -> Part:
        """Started, and answering."""
        own = {"HARMONICDET_PORT": str(self.port), **(environment or {})}
        part = self._start("api", ["api"], own, metrics_port)
        self._until(part, self._answers)
        return part

    def worker(
        self, queue: str = "train", environment: Mapping[str, str] | None = None, *, metrics_port: int
    ) -> Part:
        """Started, and in the list of workers."""
        before = len(self.client.get("/v1/workers").json()["data"])
        part = self._start(f"worker-{queue}", ["worker", "--queue", queue], environment or {}, metrics_port)
        self._until(part, lambda: len(self.client.get("/v1/workers").json()["data"]) > before)
        return part

    def submit(self) -> str:
        """Id of a new training."""
        body = {"kind": "train", "dataset_id": self.dataset, "config": {"epochs": 2}}
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def status(self, job_id: str) -> str:
        return str(self.client.get(f"/v1/jobs/{job_id}").json()["status"])

    @property
    def where(self) -> dict[str, str]:
        """Database and broker, for a process with another data directory."""
        settings = StoreSettings(**self._values())  # type: ignore[arg-type]  # pydantic converts
        found = {"HARMONICDET_DATABASE_URL": settings.database_url}
        if not settings.broker_url.startswith("filesystem"):
            found["HARMONICDET_BROKER_URL"] = settings.broker_url
        return found

    def as_services(self) -> Services:
        """What `tests.api.helpers` works with: it takes database and blobs of it."""
        return cast(Services, self)

    def _answers(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def _values(self) -> dict[str, str]:
        known = StoreSettings.model_fields
        named = {name.removeprefix("HARMONICDET_").lower(): value for name, value in self.environment.items()}
        return {name: value for name, value in named.items() if name in known}

    def _start(self, name: str, arguments: list[str], own: Mapping[str, str], metrics_port: int) -> Part:
        log = self.root / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment | dict(own) | {"HARMONICDET_METRICS_PORT": str(metrics_port)},
            )
        part = Part(process, metrics_port, log)
        self._parts.append(part)
        return part

    def _until(self, part: Part, condition: object) -> None:
        assert callable(condition)

        def ready() -> bool:
            assert part.process.poll() is None, part.log.read_text()[-3000:]
            return bool(condition())

        until(ready, 120, lambda: part.log.read_text()[-3000:])

    def _end(self) -> None:
        self.client.close()
        for part in self._parts:
            if part.process.poll() is None:
                part.thaw()
                part.process.terminate()
        for part in self._parts:
            try:
                part.process.wait(20)
            except subprocess.TimeoutExpired:
                part.kill()
