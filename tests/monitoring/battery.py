"""Every alert fired by its own fault, and cleared by its repair: a real Prometheus on real processes.

A fault is a generator: it yields once it has done its harm, and repairs it when it is resumed.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError, run

from sqlalchemy import text

from store.tables import DEFAULT_PROJECT
from tests.api.helpers import encoded, picture, trained
from tests.faults.deployments import installed_servers
from tests.monitoring.prometheus import Prometheus, alerts, until
from tests.monitoring.service import BROKEN, ENDLESS, Part, Service
from tests.servers import PostgreSQL, RedisServer, free_port

PATIENCE = 1 / 30  # of what each rule waits for
_SECONDS = 120.0  # until an alert must fire, or clear
_TMPFS_BYTES = 64 << 20

Fault = Callable[["Scene"], Iterator[None]]


@dataclass
class Told:
    """What came of one alert: seconds from the fault until it fired, from the repair until it was clear."""

    alert: str
    fault: str
    fired: float
    cleared: float | None


class Scene:
    """A service and its Prometheus, for one fault after the other. With `servers`: PostgreSQL and Redis."""

    def __init__(self, *, servers: bool, environment: Mapping[str, str] | None = None) -> None:
        self._servers = servers
        self._environment = dict(environment or {})
        self._stack = ExitStack()
        self.api_port, self.worker_port = free_port(), free_port()
        self.postgresql: PostgreSQL | None = None
        self.redis: RedisServer | None = None

    def __enter__(self) -> "Scene":
        with self._stack:
            environment = self._environment
            if self._servers:
                programs, redis = installed_servers()
                self.postgresql = PostgreSQL(programs)
                self._stack.callback(self.postgresql.close)
                self.postgresql.start()
                self.redis = RedisServer(redis)
                self._stack.callback(self.redis.close)
                self.redis.start()
                environment |= {
                    "HARMONICDET_DATABASE_URL": self.postgresql.new_database(),
                    "HARMONICDET_BROKER_URL": self.redis.url,
                }
            self.service = self._stack.enter_context(Service(environment))
            self.api = self.service.api(metrics_port=self.api_port)
            targets = {"harmonicdet-api": [self.api_port], "harmonicdet-worker": [self.worker_port]}
            self.prometheus = self._stack.enter_context(Prometheus(targets, patience=PATIENCE))
            until(lambda: self.prometheus.ask("harmonicdet_database_up"), _SECONDS, self.prometheus.firing)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def worker(self, environment: dict[str, str] | None = None) -> Part:
        """Of the train queue."""
        return self.service.worker("train", environment, metrics_port=self.worker_port)

    def restart_api(self, **environment: str) -> None:
        """With other settings, or as it was."""
        self.api.stop()
        self.api = self.service.api(environment, metrics_port=self.api_port)

    def try_out(self, alert: str, fault: Fault) -> Told:
        """Raises AssertionError when the alert fires before the fault, not after it, or for ever."""
        assert alert not in self.prometheus.firing(), f"{alert} fires without its fault"
        harm = fault(self)
        next(harm)
        fired = until(lambda: alert in self.prometheus.firing(), _SECONDS, self.prometheus.firing)
        assert not self.prometheus.broken(), self.prometheus.broken()
        cleared = None
        with suppress(StopIteration):
            if next(harm, "repaired") is None:
                cleared = until(
                    lambda: alert not in self.prometheus.firing(), _SECONDS, self.prometheus.firing
                )
            next(harm)
        what = " ".join((fault.__doc__ or "").split())
        return Told(alert, what, fired, cleared)


# The faults


def nobody_works(scene: Scene) -> Iterator[None]:
    """a training is queued and no worker runs; repaired by starting one"""
    job = scene.service.submit()
    yield
    worker = scene.worker(ENDLESS)
    until(lambda: scene.service.status(job) == "running", _SECONDS, worker.log.read_text)
    yield
    scene.service.client.post(f"/v1/jobs/{job}/cancel")
    until(lambda: scene.service.status(job) == "cancelled", _SECONDS, worker.log.read_text)
    worker.stop()


def trainers_break(scene: Scene) -> Iterator[None]:
    """three trainings whose trainer breaks at once"""
    worker = scene.worker(BROKEN)
    jobs = [scene.service.submit() for _ in range(3)]

    def all_failed() -> bool:
        return all(scene.service.status(job) == "failed" for job in jobs)

    until(all_failed, _SECONDS, worker.log.read_text)
    worker.stop()
    yield


def worker_freezes(scene: Scene) -> Iterator[None]:
    """an idle worker is stopped by SIGSTOP; repaired by SIGCONT"""
    worker = scene.worker()
    worker.freeze()
    yield
    worker.thaw()
    yield
    worker.stop()


def broker_dies(scene: Scene) -> Iterator[None]:
    """Redis is killed, a training is queued and the idle worker hears of nothing; repaired by starting it"""
    assert scene.redis is not None
    worker = scene.worker(ENDLESS)
    scene.redis.kill()
    job = scene.service.submit()
    yield
    scene.redis.start()
    yield
    scene.service.client.post(f"/v1/jobs/{job}/cancel")
    until(lambda: scene.service.status(job) == "cancelled", _SECONDS, worker.log.read_text)
    worker.stop()


def database_dies(scene: Scene) -> Iterator[None]:
    """PostgreSQL is killed; repaired by starting it"""
    assert scene.postgresql is not None
    scene.postgresql.kill()
    yield
    scene.postgresql.start()
    yield


def requests_fail(scene: Scene) -> Iterator[None]:
    """PostgreSQL is killed, and clients go on asking"""
    assert scene.postgresql is not None
    scene.postgresql.kill()
    for _ in range(20):
        scene.service.client.get("/v1/jobs")
        time.sleep(0.2)
    yield
    scene.postgresql.start()


def nobody_reaps(scene: Scene) -> Iterator[None]:
    """a worker is stopped by SIGSTOP in the middle of a training, and the API's caretaker hardly ever looks;
    repaired by an API whose caretaker does"""
    worker = scene.worker(ENDLESS)
    job = scene.service.submit()
    until(lambda: scene.service.status(job) == "running", _SECONDS, worker.log.read_text)
    scene.restart_api(HARMONICDET_LEASE_SECONDS="3600", HARMONICDET_DISPATCH_SECONDS="3600")
    worker.freeze()
    yield
    scene.restart_api()
    yield
    worker.thaw()
    scene.service.client.post(f"/v1/jobs/{job}/cancel")
    until(lambda: scene.service.status(job) == "cancelled", _SECONDS, worker.log.read_text)
    worker.stop()


def queue_grows(scene: Scene) -> Iterator[None]:
    """a job has been waiting for two hours (its rows say so); repaired by cancelling it"""
    job = scene.service.submit()
    ago = time.time() - 7200
    with scene.service.database.begin() as session:
        for statement in (
            "UPDATE job SET created_at = :ago WHERE id = :job",
            "UPDATE job_event SET created_at = :ago WHERE job_id = :job",
            "UPDATE dataset SET validated_at = :ago WHERE project_id = :project",
        ):
            session.execute(text(statement), {"ago": ago, "job": job, "project": DEFAULT_PROJECT})
    yield
    scene.service.client.post(f"/v1/jobs/{job}/cancel")
    yield


def _filled(scene: Scene, free: int) -> Iterator[None]:
    """The API's data directory is a tmpfs that is filled until so many bytes are free."""
    with _small_disk(scene.service.root / "small") as folder:
        reserve = 8 << 20
        scene.restart_api(
            HARMONICDET_DATA=str(folder),
            HARMONICDET_BLOBS=str(scene.service.root / "data" / "blobs"),
            HARMONICDET_MIN_FREE_BYTES=str(reserve),
            **scene.service.where,
        )
        ballast = folder / "ballast"
        ballast.write_bytes(b"\0" * (_TMPFS_BYTES - free))
        yield
        ballast.unlink()
        yield
        scene.restart_api()


def disk_fills(scene: Scene) -> Iterator[None]:
    """a tmpfs as the API's disk is filled up to 12 MiB, of which 8 are the reserve; repaired by deleting"""
    yield from _filled(scene, 12 << 20)


def disk_is_full(scene: Scene) -> Iterator[None]:
    """the same tmpfs is filled up to 4 MiB; repaired by deleting"""
    yield from _filled(scene, 4 << 20)


def predictions_queue(scene: Scene) -> Iterator[None]:
    """sixty clients send pictures of 20 megapixels to an API with one thread"""
    scene.restart_api(HARMONICDET_PREDICT_THREADS="1")
    model = trained(scene.service.as_services(), scene.service.submit())
    image = encoded(picture(4000, 5000), "JPEG")

    def predict(_: int) -> int:
        headers = {"Content-Type": "image/jpeg"}
        path = f"/v1/models/{model}/predict"
        return scene.service.client.post(path, content=image, headers=headers, timeout=300).status_code

    with ThreadPoolExecutor(60) as clients:
        answered = list(clients.map(predict, range(60)))
    assert answered.count(200) > 30, answered
    yield


def api_dies(scene: Scene) -> Iterator[None]:
    """the API is killed; repaired by starting it"""
    scene.api.kill()
    yield
    scene.api = scene.service.api(metrics_port=scene.api_port)
    yield


FAULTS: dict[str, Fault] = {
    "HarmonicDetNoWorker": nobody_works,
    "HarmonicDetJobsFail": trainers_break,
    "HarmonicDetApiDown": api_dies,
    "HarmonicDetWorkerSilent": worker_freezes,
    "HarmonicDetHeartbeatMissing": nobody_reaps,
    "HarmonicDetQueueStuck": broker_dies,
    "HarmonicDetQueueLong": queue_grows,
    "HarmonicDetPredictionSlow": predictions_queue,
    "HarmonicDetDiskNearlyFull": disk_fills,
    "HarmonicDetDiskFull": disk_is_full,
    "HarmonicDetDatabaseAway": database_dies,
    "HarmonicDetRequestsFail": requests_fail,
}
"""By the alert that must fire. The last ones leave counters behind that others would see."""
NEED_SERVERS = frozenset({"HarmonicDetQueueStuck", "HarmonicDetDatabaseAway", "HarmonicDetRequestsFail"})
assert set(FAULTS) == set(alerts())


def run_all(names: Sequence[str], *, servers: bool, say: Callable[[str], None]) -> list[Told]:
    """One after the other. Raises AssertionError at the first that does not fire or clear."""
    told = []
    with Scene(servers=servers) as scene:
        for name in names:
            told.append(scene.try_out(name, FAULTS[name]))
            say(f"{name} fired after {told[-1].fired:.1f} s")
    return told


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Needs root. Raises `CannotMount`."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_TMPFS_BYTES}", "tmpfs", str(folder)]
    try:
        run(command, check=True, capture_output=True)
    except (OSError, CalledProcessError) as error:
        raise CannotMount(str(error)) from error
    try:
        yield folder
    finally:
        command = ["umount", "--lazy", str(folder)]
        run(command, check=True, capture_output=True)


class CannotMount(Exception):
    """Only root may mount a filesystem, and not in every container."""
