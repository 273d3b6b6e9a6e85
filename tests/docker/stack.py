"""`python -m tests.docker.stack`: the images built, the compose stack started and used as a team would.

A dataset is uploaded through the proxy, a detector trains on it, its worker's container is killed in the
middle of an epoch and another one goes on, the trained model predicts, workers and APIs are scaled to two
each, and all of it is stopped with trainings at work. Every step asserts what came of it.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from detector.data.synthetic import write_synthetic
from tests.docker.engine import CannotTest, Engine
from tests.faults.notes import publish, report, say

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
WORK = Path(os.environ.get("CONTAINERS_WORK", "/var/tmp/harmonicdet-containers"))
# All that the compose file and the images are made of.
PARTS = (
    *("LICENSE", ".dockerignore", ".env.example", "docker-compose.yml"),
    *("docker", "requirements", "api", "detector", "store", "worker", "harmonicdet"),
)
ARCHITECTURE = "ssdlite320_mobilenet_v3_large"
LARGEST_API_IMAGE = 500_000_000
PATIENCE_SECONDS = 1800.0  # of a step, on a machine busy with other things
OURS = ("api", "worker-train", "worker-evaluate", "worker-ingest")


@dataclass
class Outcome:
    """Bytes of the images, seconds of the steps, and what is worth telling."""

    stand_ins: bool = False
    sizes: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    told: dict[str, object] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        say(f"{step} …")
        begun = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - begun


class Stack:
    """A copy of the checkout as a compose project of its own; use as a context manager."""

    def __init__(self, engine: Engine, folder: Path, *, override: Path | None = None) -> None:
        self.engine = engine
        self.folder = folder
        self._project = f"harmonicdet-test-{secrets.token_hex(3)}"
        self._files = ["--file", "docker-compose.yml", *(["--file", str(override)] if override else [])]
        self.port = _free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)

    def __enter__(self) -> "Stack":
        for part in PARTS:
            if (ROOT / part).is_dir():
                unwanted = shutil.ignore_patterns("__pycache__", "secrets")
                shutil.copytree(ROOT / part, self.folder / part, ignore=unwanted)
            else:
                shutil.copy(ROOT / part, self.folder / part)
        example = (self.folder / ".env.example").read_text()
        published = f"HARMONICDET_PUBLISH=127.0.0.1:{self.port}"
        (self.folder / ".env").write_text(re.sub("HARMONICDET_PUBLISH=.*", published, example))
        self.engine.run("sh", str(self.folder / "docker" / "make_secrets.sh"))
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.compose("down", "--volumes", "--timeout", "5", check=False)

    def compose(self, *arguments: str, timeout: float = PATIENCE_SECONDS, check: bool = True) -> str:
        options = ("--project-name", self._project, *self._files)
        return self.engine.compose(self.folder, *options, *arguments, timeout=timeout, check=check)

    def up(self, *options: str) -> None:
        self.compose("up", "--detach", "--no-build", "--pull", "never", *options)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What the engine tells of each container of a service, ended ones too."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        return [json.loads(self.engine.run("docker", "inspect", one))[0] for one in ids]

    def get(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        body: dict[str, Any] = answer.json()
        return body

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (result := condition()):
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS:g} s\n{self.logs()}"
            time.sleep(0.5)
        return result

    def logs(self) -> str:
        return self.compose("logs", "--tail", "30", check=False)[-12000:]

    def answers(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def submit(self, dataset: str, **config: Any) -> str:
        body = {
            "kind": "train",
            "dataset_id": dataset,
            "config": {"architecture": ARCHITECTURE, "batch_size": 4, "num_workers": 0} | config,
        }
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{job}")

    def ended(self, job: str) -> dict[str, Any]:
        finished = ("succeeded", "failed", "cancelled")
        self.until(lambda: self.job(job)["status"] in finished, f"{job} ends")
        return self.job(job)


def run(
    data: Path | None = None,
    *,
    build: bool = True,
    override: Path | None = None,
    cgroup_parent: str | None = None,
) -> Outcome:
    """All of it. Raises `CannotTest` where there is no engine, `AssertionError` where something is not so."""
    outcome = Outcome()
    with (
        Engine(WORK, cgroup_parent=cgroup_parent) as engine,
        tempfile.TemporaryDirectory(prefix="harmonicdet-stack-") as name,
        Stack(engine, Path(name), override=override) as stack,
    ):
        _build(engine, stack, outcome, build=build)
        _look_inside(engine, outcome)
        try:
            _use(stack, data, outcome)
        except BaseException:
            say(stack.logs())
            raise
    return outcome


def _build(engine: Engine, stack: Stack, outcome: Outcome, *, build: bool) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (python,) = re.findall(
        r"^FROM (\S+) AS build", (ROOT / "docker/api.Dockerfile").read_text(), re.MULTILINE
    )
    upstream = (services[name]["image"] for name in ("redis", "postgres", "proxy"))
    with outcome.timed("base images"):
        outcome.stand_ins = engine.stand_in(python, *upstream)
    images = {"api": services["api"], "worker": services["worker-train"]}
    for name, service in images.items():
        target = ["--target", service["build"]["target"]] if "target" in service["build"] else []
        if build or not engine.has(service["image"]):
            with outcome.timed(f"build of the {name} image"):
                engine.build(stack.folder, service["build"]["dockerfile"], service["image"], *target)
        outcome.sizes[service["image"]] = engine.image(service["image"])["Size"]
    outcome.sizes[python] = engine.image(python)["Size"]
    assert outcome.sizes[services["api"]["image"]] <= LARGEST_API_IMAGE, outcome.sizes


def _look_inside(engine: Engine, outcome: Outcome) -> None:
    """What an image is, asked of a container that may do as little as the service's."""
    for image in outcome.sizes:
        if "harmonicdet-" not in image:
            continue
        told = engine.image(image)
        labels = {
            key.rpartition(".")[2]
            for key in told["Config"]["Labels"]
            if key.startswith("org.opencontainers.image.")
        }
        assert {"title", "description", "licenses", "version", "revision"} <= labels
        assert told["Config"]["User"] == "10001:10001"
        # podman tells of the health check beside what it calls the config.
        assert (told["Config"] | told)["Healthcheck"]["Test"][0] == "CMD"
        code = (
            "import importlib.util as u, os; "
            "print(os.getuid(), os.access('/app', os.W_OK), bool(u.find_spec('torch')))"
        )
        hardened = (
            "--rm",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--network=none",
        )
        said = engine.run("docker", "run", *hardened, image, "python", "-c", code).split()
        assert said == ["10001", "False", str("worker" in image)]


def _use(stack: Stack, data: Path | None, outcome: Outcome) -> None:
    with outcome.timed("start, until it is ready"):
        stack.up()
        stack.until(stack.answers, "the service answers through the proxy")
    refused = stack.client.get("/v1/datasets")
    assert refused.status_code == 401, refused.text
    made = stack.compose(
        "exec", "-T", "api", "python", "-m", "harmonicdet", "keys", "create", "test", "--scope", "admin"
    )
    (key,) = re.findall(r"\bhd_\S+", made)[:1]
    stack.client.headers["Authorization"] = f"Bearer {key}"

    archive = data if data is not None else _synthetic(stack.folder)
    with outcome.timed("upload and validation of the dataset"):
        dataset = _upload(stack, archive)
    outcome.told["dataset"] = f"{archive.name}, {archive.stat().st_size / 1e6:.1f} MB, {dataset['format']}"

    job = stack.submit(dataset["id"], epochs=2, checkpoint_every_steps=5, seed=1)
    with outcome.timed("training of two epochs, its worker killed in the middle of one"):
        steps = _kill_in_mid_epoch(stack, job)
        ended = stack.ended(job)
    assert ended["status"] == "succeeded", ended
    assert ended["attempt"] == 2, ended
    resumed = [e["data"]["resumed_from_step"] for e in _events(stack, job) if e["type"] == "job.started"]
    assert resumed[0] == 0
    assert 0 < resumed[1] <= steps, f"resumed from {resumed}"
    measured = [row["step"] for row in stack.get(f"/v1/jobs/{job}/metrics?split=train&limit=1000")["data"]]
    assert measured == sorted(set(measured)), "a step stands there twice"
    outcome.told["killed in step, went on from step"] = (
        f"{steps}, {resumed[1]} of {ended['progress']['steps']}"
    )

    with outcome.timed("prediction, the model loaded"):
        found = _predict(stack, archive, ended["model_id"])
    outcome.told["detections of the first image"] = found
    outcome.told["AP50"] = round(stack.get(f"/v1/models/{ended['model_id']}")["metrics"]["AP50"], 3)

    with outcome.timed("scaled to two workers and two APIs"):
        outcome.told["hosts of two trainings at once"] = _scale(stack, dataset["id"])
    with outcome.timed("stop, in the middle of two trainings"):
        outcome.told["exit codes"] = _stop(stack, dataset["id"])


def _synthetic(folder: Path) -> Path:
    archive = folder / "shapes.zip"
    write_synthetic(archive, images=160, val_images=20, size=320)
    return archive


def _upload(stack: Stack, archive: Path) -> dict[str, Any]:
    with archive.open("rb") as file:
        answer = stack.client.post("/v1/datasets", files={"file": (archive.name, file, "application/zip")})
    assert answer.status_code == 202, answer.text
    path = f"/v1/datasets/{answer.json()['id']}"
    stack.until(lambda: stack.get(path)["status"] != "validating", "the dataset is validated")
    dataset = stack.get(path)
    assert dataset["status"] == "ready", dataset
    return dataset


def _events(stack: Stack, job: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = stack.get(f"/v1/jobs/{job}/events")["data"]
    return events


def _kill_in_mid_epoch(stack: Stack, job: str) -> int:
    """Follows the job's events, as they come through the proxy, to its first checkpoint; then kills the
    worker's container without a word, and starts it again. The step that was last heard of."""
    headers = {"Accept": "text/event-stream"}
    with stack.client.stream(
        "GET", f"/v1/jobs/{job}/events", headers=headers, timeout=PATIENCE_SECONDS
    ) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            assert "job.failed" not in line, line
            if line == "event: job.checkpoint":
                break
    assert stack.job(job)["status"] == "running", "the events came too late"
    stack.compose("kill", "--signal", "SIGKILL", "worker-train")
    (killed,) = stack.containers("worker-train")
    assert killed["State"]["ExitCode"] == 137, killed["State"]
    progress = stack.job(job)["progress"]
    assert progress["step"] % (progress["steps"] // progress["epochs"]), "not in the middle of an epoch"
    stack.until(lambda: stack.job(job)["status"] == "queued", "the job goes back to the queue")
    stack.up("worker-train")
    stack.until(lambda: stack.job(job)["attempt"] == 2, "another worker has it")
    return int(progress["step"])


def _predict(stack: Stack, archive: Path, model: str) -> int:
    with zipfile.ZipFile(archive) as dataset:
        image = next(
            name for name in sorted(dataset.namelist()) if name.lower().endswith((".jpg", ".jpeg", ".png"))
        )
        data = dataset.read(image)
    kind = "png" if image.lower().endswith("png") else "jpeg"
    headers = {"Content-Type": f"image/{kind}"}
    answer = stack.client.post(f"/v1/models/{model}/predict", content=data, headers=headers)
    assert answer.status_code == 200, answer.text
    detections = answer.json()["detections"]
    drawn = stack.client.post(
        f"/v1/models/{model}/predict", content=data, headers=headers | {"Accept": "image/jpeg"}
    )
    assert drawn.content.startswith(b"\xff\xd8"), drawn.text
    return len(detections)


def _scale(stack: Stack, dataset: str) -> str:
    """Two trainings run at once, on two containers; the proxy finds both APIs."""
    stack.up("--no-recreate", "--scale", "worker-train=2", "--scale", "api=2")
    assert len(stack.containers("worker-train")) == 2
    jobs = [stack.submit(dataset, epochs=200, checkpoint_every_steps=5, seed=seed) for seed in (2, 3)]
    stack.until(
        lambda: all(stack.job(job)["status"] == "running" for job in jobs), "two trainings run at once"
    )
    hosts = {str(stack.job(job)["worker"]).partition("@")[2].partition(":")[0] for job in jobs}
    assert len(hosts) == 2, hosts
    stack.until(lambda: _healthy(stack, "api") == 2, "both APIs are healthy")
    # Each of the two carries the service alone when the other is killed.
    for container in stack.containers("api"):
        stack.engine.run("docker", "kill", "--signal", "SIGKILL", container["Id"])
        stack.until(lambda: all(stack.answers() for _ in range(10)), "the other API answers")
        stack.engine.run("docker", "start", container["Id"])
        stack.until(lambda: _healthy(stack, "api") == 2, "both APIs are healthy again")
    return ", ".join(sorted(hosts))


def _healthy(stack: Stack, service: str) -> int:
    states = [one["State"] for one in stack.containers(service)]
    return sum(state["Running"] and state["Health"]["Status"] == "healthy" for state in states)


def _stop(stack: Stack, dataset: str) -> str:
    """Both trainings write a checkpoint and go back to the queue; every process ends by itself."""
    running = [job["id"] for job in stack.get("/v1/jobs?status=running&kind=train")["data"]]
    assert len(running) == 2, running
    for job in running:
        stack.until(lambda job=job: stack.job(job)["progress"], "a step has been done")  # type: ignore[misc]
    stack.compose("stop", "worker-train")
    for job in running:
        row = stack.job(job)
        assert row["status"] == "queued", row
        kinds = [event["type"] for event in _events(stack, job)]
        assert "job.checkpoint" in kinds, kinds
    stack.compose("stop")
    codes = {
        name: sorted(one["State"]["ExitCode"] for one in stack.containers(name))
        for name in ("postgres", "redis", "proxy", *OURS)
    }
    ill = [name for name, its in codes.items() if any(its)]
    assert not ill, f"{codes}\n{stack.compose('logs', '--tail', '20', *ill, check=False)}"
    return "all 0"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.docker.stack", description=__doc__)
    parser.add_argument("--data", type=Path, help="a dataset's zip; by default shapes are drawn")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--built", action="store_true", help="take the images that are there")
    parser.add_argument("--override", type=Path, help="another compose file, laid over the project's own")
    parser.add_argument("--cgroup-parent", help="of the containers that build (podman)")
    options = parser.parse_args()
    try:
        outcome = run(
            options.data,
            build=not options.built,
            override=options.override,
            cgroup_parent=options.cgroup_parent,
        )
    except CannotTest as error:
        say(f"skipped: {error}")
        return 0
    data = f" --data {options.data.name}" if options.data else ""
    publish(_report(outcome, f"python -m tests.docker.stack{data}"), options.report)
    return 0


def _report(outcome: Outcome, command: str) -> str:
    text = (
        "The images built, the compose stack started and used, its worker killed, scaled, stopped; every "
        "step asserts what came of it."
    )
    if outcome.stand_ins:
        text += (
            " Without a registry: podman, and stand-ins of Debian's packages for the images of Python, "
            "PostgreSQL, Redis and nginx."
        )
    sizes: list[list[object]] = [["image", "MB"]]
    sizes += [
        [image.removeprefix("docker.io/library/"), round(size / 1e6)] for image, size in outcome.sizes.items()
    ]
    seconds: list[list[object]] = [
        ["step", "seconds"],
        *([step, took] for step, took in outcome.seconds.items()),
    ]
    told: list[list[object]] = [["", ""], *([what, value] for what, value in outcome.told.items())]
    return report("The compose stack, run for real", command, text, [sizes, seconds, told])


if __name__ == "__main__":
    sys.exit(main())
