"""`python -m tests.faults.full_disk`: the worker's disk fills up while a training checkpoints.

Blobs, run directories and, without servers, the database too are on a small tmpfs, which another file fills
to the last byte at a random moment. Checked: the training ends and does not begin again while there is no
room; its checkpoint from before loads; the database is whole; the job and the worker say why; and once the
file is gone the job goes on from that checkpoint to its end. Needs root, to mount.
"""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from detector.checkpoint import load
from detector.errors import CheckpointCorrupt
from tests.faults import kills
from tests.faults.deployments import Distributed
from tests.faults.notes import publish, report, say
from tests.faults.trainer import STEPS_PER_EPOCH, states

MIN_FREE_BYTES = 8 << 20
EPOCHS = 12
FULL_SECONDS = 8.0  # so long nothing may begin


class CannotMount(Exception):
    """Only root may mount a filesystem, and not in every container."""


class OnSmallDisk(Distributed):
    """`Distributed` whose data directory is a tmpfs of `megabytes`."""

    def __init__(self, *, servers: bool, megabytes: int, real_trainer: bool = False) -> None:
        environment = {
            "HARMONICDET_MIN_FREE_BYTES": str(MIN_FREE_BYTES),
            "HARMONICDET_KEEP_FREE_BYTES": "0",
            "FAULTS_PACE": "0.1",
        }
        if real_trainer:
            environment |= kills.REAL_TRAINER
        super().__init__(workers=1, servers=servers, apis=1, environment=environment)
        self._is_mounted = False
        try:
            command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(self.data)]
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self._close()
            self.root.joinpath("data").rmdir()
            raise CannotMount(str(error)) from error
        self._is_mounted = True

    def _close(self) -> None:
        super()._close()
        if self._is_mounted:
            command = ["umount", "--lazy", str(self.data)]
            subprocess.run(command, check=True, capture_output=True)


@dataclass
class Round:
    """One time that the disk was full."""

    at_step: int  # of the last checkpoint that was stored before
    resumed_from: int
    said: list[str]  # how the job said so
    blocked: str  # what the worker said, as far as the database could take it
    seconds: float  # from the room's return to the job's end
    wrong: list[str] = field(default_factory=list)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is free on the disk of `folder`, and what is freed meanwhile is taken again."""
    ballast = folder / "ballast"
    stopping = threading.Event()

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file:
            while not stopping.is_set():
                for size in (1 << 20, 1 << 12, 1):
                    with suppress(OSError):
                        while file.write(b"\0" * size) == size and not stopping.is_set():
                            pass
                stopping.wait(0.01)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        ballast.unlink()


def run(rounds: int, seed: int, *, servers: bool, real_trainer: bool = False) -> list[Round]:
    """Raises `CannotMount`."""
    rng = random.Random(seed)
    megabytes = 900 if real_trainer else 48
    with OnSmallDisk(servers=servers, megabytes=megabytes, real_trainer=real_trainer) as deployment:
        dataset = kills.upload(deployment) if real_trainer else deployment.upload()
        done = [_round(deployment, dataset, rng, real=real_trainer) for _ in range(rounds)]
        left = deployment.stop()
    done[-1].wrong += [f"left: {process}" for process in left]
    return done


def _round(deployment: OnSmallDisk, dataset: str, rng: random.Random, *, real: bool) -> Round:
    seed = rng.randrange(10**6)
    fast = {"architecture": "ssdlite320_mobilenet_v3_large", "epochs": EPOCHS, "batch_size": 1}
    config = (kills.CONFIG if real else fast | {"checkpoint_every_steps": 3}) | {"seed": seed}
    body = {"kind": "train", "dataset_id": dataset, "config": config}
    answer = httpx.post(f"{deployment.addresses[0]}/v1/jobs", json=body, timeout=60)
    assert answer.status_code == 202, answer.text
    job = str(answer.json()["id"])
    wanted = rng.randint(1, 4 if real else 20) * 3
    stored = "SELECT checkpoint_step FROM job WHERE id = :id AND checkpoint_step >= :step"
    deployment.until(lambda: deployment.ask(stored, id=job, step=wanted), 240)
    time.sleep(rng.uniform(0.0, 0.3))

    wrong: list[str] = []
    with filled(deployment.data):
        (worker,) = deployment.train_workers
        deployment.until(lambda: deployment.trainer_of(worker, job) is None, 60)
        before = _job(deployment, job)
        at_step = before.checkpoint_step
        wrong += _broken_checkpoint(deployment, before, seed, real=real)
        time.sleep(FULL_SECONDS)
        if deployment.trainer_of(worker, job) is not None:
            wrong.append("a trainer runs on the full disk")
        told = deployment.ask("SELECT blocked FROM worker WHERE queue = 'train'")
        blocked = str(told[0].blocked or "").replace(str(deployment.data), "data") if told else ""
        # The logs are on the full disk, and so is SQLite: neither takes a word.
        if not blocked and not deployment.database.is_sqlite:
            wrong.append("the worker does not say why it claims nothing")
    room_at = time.monotonic()
    over = "SELECT id FROM job WHERE id = :id AND status IN ('succeeded', 'failed', 'cancelled')"
    deployment.until(lambda: deployment.ask(over, id=job), 240)
    took = time.monotonic() - room_at
    after = _job(deployment, job)
    if after.status != "succeeded":
        wrong.append(f"the job is {after.status} ({after.status_reason})")
    events = deployment.ask(
        "SELECT type, data, attempt FROM job_event WHERE job_id = :id ORDER BY number", id=job
    )
    data = [(event.type, _data(event.data)) for event in events]
    starts = [its["resumed_from_step"] for type_, its in data if type_ == "job.started"]
    said = [
        type_
        for type_, its in data
        if its.get("reason") == "storage_full" or its.get("code") in ("storage_full", "storage_low")
    ]
    if not said:
        wrong.append("the job does not say that the disk was full")
    # A checkpoint that was under way when the disk was filled may still have found its place.
    later = starts[before.attempt :]
    if not later or later[0] < at_step:
        wrong.append(f"went on from {later} of {starts}, not from {at_step} or later")
    wrong += _broken_database(deployment)
    steps = deployment.ask(
        "SELECT step FROM job_metric WHERE job_id = :id AND split = 'train' ORDER BY step", id=job
    )
    last = kills.STEPS if real else EPOCHS * STEPS_PER_EPOCH
    if [row.step for row in steps] != list(range(1, last + 1)):
        wrong.append("its metric rows have gaps")
    return Round(at_step, later[0] if later else -1, said, blocked, took, wrong)


def _job(deployment: OnSmallDisk, job: str) -> Any:
    (row,) = deployment.ask("SELECT * FROM job WHERE id = :id", id=job)
    return row


def _broken_checkpoint(deployment: OnSmallDisk, row: Any, seed: int, *, real: bool) -> list[str]:
    path = deployment.blobs.local_path(row.checkpoint_key)
    assert path is not None
    if real:
        try:
            load(path)
        except CheckpointCorrupt as error:
            return [f"the checkpoint does not load: {error}"]
    elif path.read_bytes() != states(seed, row.checkpoint_step)[-1].checkpoint():
        return ["the checkpoint is another state"]
    return []


def _broken_database(deployment: OnSmallDisk) -> list[str]:
    if not deployment.database.is_sqlite:
        return []
    answer = [row[0] for row in deployment.ask("PRAGMA integrity_check")]
    return [] if answer == ["ok"] else [f"the database is broken: {answer}"]


def _data(value: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return loaded


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.full_disk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    cases = {
        "all on the disk: SQLite, blobs, runs": {"servers": False, "rounds": options.rounds},
        "PostgreSQL and Redis elsewhere": {"servers": True, "rounds": options.rounds},
        "all on the disk, the real trainer": {"servers": False, "rounds": 1, "real_trainer": True},
    }
    head = ("what is on the disk that fills up", "after checkpoint of step", "went on from step")
    table: list[tuple[object, ...]] = [
        (*head, "the job says so by", "the worker says", "s from room to end", "contradictions")
    ]
    wrong: list[str] = []
    for name, case in cases.items():
        for one in run(
            case["rounds"],
            options.seed,
            servers=bool(case["servers"]),
            real_trainer=bool(case.get("real_trainer")),
        ):
            said = ", ".join(dict.fromkeys(one.said))
            table.append(
                (
                    name,
                    one.at_step,
                    one.resumed_from,
                    said,
                    one.blocked or "(no room to say it)",
                    one.seconds,
                    len(one.wrong),
                )
            )
            wrong += [f"{name}: {line}" for line in one.wrong]
    text = (
        f"A tmpfs is filled to the last byte while a training runs, for {FULL_SECONDS:g} s after its "
        "trainer has ended; then the room comes back. Checked each time: the checkpoint from before is "
        "whole, nothing runs without room, the worker says why where its database has room, metric "
        f"rows without gaps, SQLite's integrity_check, success. Contradictions: {len(wrong)}."
    )
    command = f"python -m tests.faults.full_disk --rounds {options.rounds} --seed {options.seed}"
    publish(report(f"{len(table) - 1} full disks", command, text, [table]), options.report)
    for line in wrong:
        say(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
