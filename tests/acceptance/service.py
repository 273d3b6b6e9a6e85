"""`harmonicdet up` as a test sees it: a process, an address, and everything that belongs to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psutil

from tests.servers import free_port

T = TypeVar("T")

# Small enough that a training takes seconds, long enough that one can be broken in the middle of an epoch.
CONFIG: dict[str, Any] = {
    "architecture": {"kind": "ssdlite320_mobilenet_v3_large", "image_size": 128},
    "epochs": 2,
    "batch_size": 2,
    "evaluate_every": 2,
    "checkpoint_every_steps": 2,
    "seed": 5,
}
STEPS_PER_EPOCH = 12
IMAGES = 24


def is_there(process: psutil.Process) -> bool:
    """Whether it runs. A zombie, which nobody has waited for yet, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class RunningService:
    """Use as a context manager; `stop` ends it before."""

    def __init__(
        self, data: Path, *, environment: dict[str, str] | None = None, start_seconds: float = 60.0
    ) -> None:
        self.data = data
        self._start_seconds = start_seconds
        self.port = free_port()
        # Few threads: two trainings of the same seed are then equal on a busy machine too.
        self._environment = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        log = self.data.with_suffix(".log")
        with log.open("ab") as output:
            self.parent = psutil.Popen(
                [sys.executable, "-m", "harmonicdet", "up", f"--port={self.port}", f"--data={self.data}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        try:
            self.until(lambda: self._answers() or self.parent.poll() is not None, self._start_seconds)
            assert self.parent.poll() is None, log.read_text()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.note_processes()
        if self.parent.poll() is None:
            self.parent.terminate()
            self.parent.wait(40)
        self.client.close()
        for process in self.left():
            process.kill()

    def note_processes(self) -> None:
        """Remembers every process that belongs to the service now."""
        if self.parent.is_running():
            self.seen |= {self.parent, *self.parent.children(recursive=True)}

    def left(self) -> list[psutil.Process]:
        """The remembered processes that are still there."""
        return [process for process in self.seen if is_there(process)]

    def until(self, condition: Callable[[], T | None], seconds: float = 60.0) -> T:
        """The first result of `condition` that is true."""
        deadline = time.monotonic() + seconds
        while True:
            result = condition()
            if result:
                return result
            assert time.monotonic() < deadline, f"not so within {seconds:g} s\n{self.logs()}"
            time.sleep(0.1)  # both cores are busy training

    def logs(self) -> str:
        files = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def upload(self, archive: Path) -> str:
        """Id of the dataset, when it is ready."""
        answer = self.client.post(
            "/v1/datasets",
            files={"file": (archive.name, archive.read_bytes(), "application/zip")},
            data={"name": "shapes"},
        )
        assert answer.status_code == 202, answer.text
        dataset_id: str = answer.json()["id"]
        self.until(lambda: self.get(f"/v1/datasets/{dataset_id}")["status"] != "validating")
        dataset = self.get(f"/v1/datasets/{dataset_id}")
        assert dataset["status"] == "ready", dataset
        return dataset_id

    def submit(self, dataset_id: str, **config: Any) -> str:
        """Id of a new train job."""
        answer = self.client.post(
            "/v1/jobs", json={"kind": "train", "dataset_id": dataset_id, "config": CONFIG | config}
        )
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def get(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def job(self, job_id: str) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{job_id}")

    def ended(self, job_id: str, seconds: float = 280.0) -> dict[str, Any]:
        """The job, once it is over."""
        over = ("succeeded", "failed", "cancelled")
        self.until(lambda: self.job(job_id)["status"] in over, seconds)
        return self.job(job_id)

    def checkpoints(self, job_id: str) -> list[int]:
        """Steps of the checkpoints stored so far, in the middle of epochs or not."""
        events = self.get(f"/v1/jobs/{job_id}/events")["data"]
        return [event["data"]["step"] for event in events if event["type"] == "job.checkpoint"]

    def in_mid_epoch(self, job_id: str) -> None:
        """Waits until a checkpoint from the middle of an epoch is stored, and the training runs on."""
        self.until(
            lambda: (
                self.job(job_id)["status"] == "running"
                and any(step % STEPS_PER_EPOCH for step in self.checkpoints(job_id)[-1:])
            )
        )

    def weights(self, job_id: str) -> str:
        """SHA-256 of the model's safetensors."""
        model = self.job(job_id)["model_id"]
        artifacts = self.get(f"/v1/models/{model}/artifacts")["data"]
        (sha256,) = [file["sha256"] for file in artifacts if file["name"] == "model.safetensors"]
        return str(sha256)

    def worker_of(self, job_id: str) -> psutil.Process:
        """The worker process that has the job; its name ends with its process id."""
        return psutil.Process(int(self.job(job_id)["worker"].rpartition(":")[2]))

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.parent.send_signal(signal.SIGINT)

    def _answers(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False
