"""The API as a process of its own, on a store that has something of everything in it.

No worker runs: what one would leave behind is written by the verbs that it calls, so that jobs of every
status are there, and stay as they are.
"""

import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

import httpx
import msgspec
import psutil
from ulid import ULID

from api.services import Services
from api.settings import Settings, server_secret
from store import datasets, jobs, keys, webhooks, workers
from store.blobs import Blobs, open_blobs
from store.jobs import Claim
from store.keys import Scope
from store.sessions import Database, migrate
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import FINDING, SUMMARY, trained
from tests.api.test_comparisons import compared
from tests.api.test_dataset_images import FILES, INDEX, NAMES
from tests.api.test_evaluations import INDEX as MEASURED_INDEX
from tests.api.test_evaluations import RESULTS, finish
from tests.api.test_searches import tried
from tests.servers import free_port

READY_SECONDS = 600.0  # the long batteries run beside others
_LEASE_SECONDS = 86400.0


@dataclass(frozen=True)
class Store:
    """What the helpers of the API's tests need of its services, without the threads of a second API."""

    settings: Settings
    database: Database
    blobs: Blobs

    def as_services(self) -> Services:
        return cast(Services, self)


def new_key(settings: Settings, database: Database, *scopes: Scope, name: str = "test") -> str:
    """The text of a new key of the default project, with every scope unless some are named."""
    with database.begin() as session:
        return keys.create(
            session,
            secret=server_secret(settings),
            project_id=DEFAULT_PROJECT,
            name=name,
            scopes=scopes or tuple(Scope),
        ).text


class SeededApi:
    """Use as a context manager. `client` shows no key; `key` makes one."""

    def __init__(self, data: Path, *, require_keys: bool = False, **environment: str) -> None:
        """`environment`: settings of the API by their names after `HARMONICDET_`, in lower case."""
        self.data = data
        self.log = data.with_suffix(".log")
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        told = {
            "data": str(data),
            "port": str(self.port),
            "require_keys": str(int(require_keys)),
            "rate_limit": "off",
        } | environment
        self._environment = {f"HARMONICDET_{name.upper()}": value for name, value in told.items()}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self.data.mkdir(parents=True, exist_ok=True)
            settings = Settings(data=self.data)
            migrate(settings.database_url)
            database = Database(settings.database_url)
            self._stack.callback(database.dispose)
            self.store = Store(settings, database, open_blobs(settings))
            self.receiver = self._stack.enter_context(Receiver()).address
            self._start()
            self.client = self._stack.enter_context(httpx.Client(base_url=self.address, timeout=30))
            self._wait()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def key(self, *scopes: Scope, name: str = "test") -> str:
        """The text of a new key of the default project, with every scope unless some are named."""
        return new_key(self.store.settings, self.store.database, *scopes, name=name)

    def _start(self) -> None:
        output = self._stack.enter_context(self.log.open("ab"))
        self.process = psutil.Popen(
            [sys.executable, "-m", "api"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | self._environment,
        )
        self._stack.callback(self._stop)

    def _stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except psutil.TimeoutExpired:
                self.process.kill()

    def _wait(self) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while True:
            try:
                self.client.get("/healthz")
                return
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < give_up, self.log.read_text()
                time.sleep(0.1)


class Receiver(ThreadingHTTPServer):
    """Takes whatever webhooks are sent, on this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(204)
                self.end_headers()
                receiver.received += 1

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def measure(folder: Path) -> Path:
    """The run directory of a real evaluation of some detections, made in `folder`."""
    (folder / "index.json").write_bytes(msgspec.json.encode(MEASURED_INDEX))
    (folder / "detections.json").write_bytes(RESULTS)
    files = [f"--index={folder / 'index.json'}", f"--detections={folder / 'detections.json'}"]
    subprocess.run(
        [sys.executable, "-m", "detector", "evaluate", *files, f"--run={folder / 'run'}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    return folder / "run"


def fill(api: SeededApi, key: str, measured: Path | None = None) -> dict[str, str]:
    """Something of everything, made anew; values of the path parameters that name it.

    Args:
        key: has every scope.
        measured: the run directory of an evaluation (`measure`); without, the evaluation is that of a
            training, of which there are no curves.
    """
    services = api.store.as_services()
    with httpx.Client(base_url=api.address, timeout=30, headers={"Authorization": f"Bearer {key}"}) as client:

        def made(path: str, status: int, **request: Any) -> dict[str, Any]:
            answer = client.post(path, **request)
            assert answer.status_code == status, answer.text
            body: dict[str, Any] = answer.json()
            return body

        def queued() -> str:
            body = {
                "kind": "train",
                "dataset_id": dataset["id"],
                "config": {"epochs": 2},
                "metadata": {"seeded": "yes"},
            }
            return str(made("/v1/jobs", 202, json=body)["id"])

        zipped = {"content": _archive(), "headers": {"Content-Type": "application/zip"}}
        dataset = made("/v1/datasets?name=seeded", 202, **zipped)
        _ready(services, claim(services, dataset["validation_job_id"]))
        rejected = made("/v1/datasets?name=broken", 202, **zipped)
        problem = {
            "type": "about:blank",
            "title": "The dataset is invalid",
            "status": None,
            "code": "dataset_invalid",
            "detail": "The file is no zip archive.",
        }
        broken = claim(services, rejected["validation_job_id"])
        services.database.run(
            lambda s: datasets.mark_invalid(
                s, broken, format=None, summary=None, findings=[FINDING], error=problem
            )
        )
        made("/v1/datasets?name=waiting", 202, **zipped)

        waiting, running, paused, failed, cancelled = queued(), queued(), queued(), queued(), queued()
        _under_way(services, claim(services, running))
        client.post(f"/v1/jobs/{paused}/pause")
        client.post(f"/v1/jobs/{cancelled}/cancel")
        lost = claim(services, failed)
        _under_way(services, lost)
        services.database.run(lambda s: jobs.fail(s, lost, reason="out_of_memory", error=problem))
        model = trained(services, queued())
        spare = trained(services, queued(), masks=True)

        client.put("/v1/model-aliases/production", json={"model_id": model}).raise_for_status()
        evaluation = str(client.get("/v1/evaluations").json()["data"][0]["id"])
        if measured is not None:
            form = {
                "files": {"file": ("results.json", RESULTS, "application/json")},
                "data": {"dataset_id": dataset["id"]},
            }
            asked = made("/v1/evaluations", 202, **form)
            finish(services, asked, measured)
            evaluation = asked["id"]

        sides = {"dataset_id": dataset["id"], "arms": [{"name": "one"}, {"name": "other"}]}
        comparison, finished = (made("/v1/comparisons", 202, json=sides) for _ in range(2))
        compared(services, finished)

        space = {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}}
        tries = {"dataset_id": dataset["id"], "space": space, "max_trials": 1}
        search, searched = (made("/v1/searches", 202, json=tries)["id"] for _ in range(2))
        tried(services, searched, 0.01)

        tus = {"Tus-Resumable": "1.0.0"}
        upload = made("/v1/uploads", 201, headers=tus | {"Upload-Length": "5"})
        hook = services.database.run(
            lambda s: (
                webhooks.create(
                    s, project_id=DEFAULT_PROJECT, url=f"{api.receiver}/hook", events=["job.*"]
                ).id
            )
        )
        client.post(f"/v1/webhooks/{hook}/ping")
        other = made("/v1/keys", 201, json={"name": "spare", "scopes": ["read"]})
        worker = f"wrk_{str(ULID()).lower()}"
        services.database.run(
            lambda s: workers.register(
                s,
                worker_id=worker,
                name="train@here:1",
                queue="train",
                device="cpu",
                host="here",
                pid=1,
                version="0.1.0",
                job_id=running,
            )
        )
    return {
        "dataset_id": dataset["id"],
        "job_id": waiting,
        "running_job_id": running,
        "failed_job_id": failed,
        "model_id": model,
        "spare_model_id": spare,
        "alias": "production",
        "evaluation_id": evaluation,
        "comparison_id": comparison["id"],
        "finished_comparison_id": finished["id"],
        "search_id": search,
        "finished_search_id": searched,
        "upload_id": upload["id"],
        "webhook_id": hook,
        "key_id": other["id"],
        "worker_id": worker,
        "position": "0",
        "artifact": "model.onnx",
    }


def claim(services: Services, job_id: str) -> Claim:
    """The job in the hands of a worker that keeps it for a day."""
    held = services.database.run(
        lambda s: jobs.claim(s, job_id, worker="test@here", lease_seconds=_LEASE_SECONDS)
    )
    assert held is not None
    return held


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in NAMES:
            file.writestr(zipfile.ZipInfo(name), FILES[name])
    return buffer.getvalue()


def _ready(services: Services, held: Claim) -> None:
    images = [
        {
            "file_name": one.file_name,
            "split": one.split,
            "width": one.width,
            "height": one.height,
            "boxes": len(one.annotations),
        }
        for one in INDEX.images
    ]
    services.database.run(
        lambda s: datasets.mark_ready(
            s,
            held,
            index=services.blobs.put_bytes(msgspec.json.encode(INDEX)).key,
            format="coco",
            summary=SUMMARY,
            images=images,
            findings=[FINDING | {"image": NAMES[1]}, FINDING],
        )
    )


def _under_way(services: Services, held: Claim) -> None:
    """The job has trained for a while: phase, progress, metrics, a checkpoint, a log."""
    blob = services.blobs.put_bytes(b"checkpoint")
    progress = {"epoch": 1, "epochs": 2, "step": 2, "steps": 4, "fraction": 0.5, "eta_seconds": 3.0}

    def work(session: Any) -> None:
        jobs.set_phase(session, held, "training")
        jobs.set_progress(session, held, progress)
        jobs.record_metrics(session, held, [("train", 2, 1.0, {"loss": 0.5, "lr": 0.01})])
        jobs.record_checkpoint(
            session, held, key=blob.key, sha256=blob.sha256, bytes=blob.bytes, step=2, epoch=1.0
        )
        jobs.set_log_tail(session, held, "epoch 1 of 2\n")

    services.database.run(work)
