"""Seeded faults against the running service, each counted only when its victim held a running row.

The victim is frozen first, then the row is read, then the victim is killed: what the row said is what was so
at the moment of the kill. A fault whose victim had just let go of its job is not counted.

What the storm spares, so that its invariants are fair: a job that has had two ends in a row without a
checkpoint is nobody's victim, for a third is by design the end of the job (`worker_lost`). What takes all
jobs at once (a database that is away) has no such mercy. And a process that is frozen while it writes to
SQLite holds the lock of the whole database, as SQLite has it, for as long as it is frozen: it is woken at
once, and not counted.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.deployments import PACE_SECONDS, Deployment, Distributed, Embedded
from tests.faults.load import Load
from tests.faults.marks import Mark, MarksFile

SPARED_STALLS = 2
MOMENTS = {
    "training": ("step", "checkpoint-end"),
    "checkpointing": ("checkpoint-begin", "checkpoint-end"),
    "exporting": ("evaluating", "exporting"),
    "finishing": ("result",),
}
LONG_SECONDS = 20.0  # more than a lease, the delay after it and the start of another trainer
LATER_STEPS = 20
AIM_SECONDS = 3.0  # how long a fault waits for its victim to come to the right place


@dataclass(frozen=True)
class Victim:
    """A running job, and the worker that has it."""

    job: str
    token: int
    worker: int
    checkpoint_step: int


@dataclass
class Storm:
    """What has been done so far."""

    deployment: Deployment
    load: Load
    rng: random.Random
    only: str = ""  # a part of the names of the kinds to use
    counted: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    out_of_memory: set[str] = field(default_factory=set)
    refused_zombies: int = 0
    succeeded_zombies: int = 0  # woken beside the trainer of a later claim
    frozen_writers: int = 0  # frozen within a transaction of SQLite, and woken again
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._lease = self.deployment.settings().lease_seconds
        self.marks = MarksFile(self.deployment.marks)
        self._zombies: list[tuple[float, Victim]] = []
        kinds: list[tuple[str, float, Callable[[], bool]]] = [
            ("worker killed while preparing", 2, lambda: self._kill_worker("preparing")),
            ("worker killed while training", 4, lambda: self._kill_worker("training")),
            ("worker killed while checkpointing", 3, lambda: self._kill_worker("checkpointing")),
            ("worker killed while evaluating or exporting", 2, lambda: self._kill_worker("exporting")),
            ("worker killed while finishing", 3, lambda: self._kill_worker("finishing")),
            ("worker told to end (SIGTERM)", 3, self._terminate_worker),
            ("worker frozen past its lease, then woken", 3, self._freeze_worker),
            ("trainer killed while training", 3, lambda: self._kill_trainer("training")),
            ("trainer killed while checkpointing", 2, lambda: self._kill_trainer("checkpointing")),
            ("trainer killed while evaluating or exporting", 2, lambda: self._kill_trainer("exporting")),
            ("trainer out of memory", 2, self._exhaust_memory),
            ("API killed during a submission", 3, self._kill_api),
            ("hints sent again", 3, self._repeat_hints),
        ]
        if isinstance(self.deployment, Embedded):
            kinds.append(("all hints deleted", 2, self._delete_hints))
        if isinstance(self.deployment, Distributed) and self.deployment.redis is not None:
            kinds.append(("Redis emptied (FLUSHALL)", 3, self._flush_redis))
            kinds.append(("Redis killed, started again empty", 2, self._kill_redis))
            kinds.append(("PostgreSQL killed, started again", 2, self._kill_postgresql))
        kinds = [kind for kind in kinds if self.only in kind[0]]
        self._kinds = {name: inject for name, _, inject in kinds}
        self._weights = [weight for _, weight, _ in kinds]

    def rage(self, faults: int, *, seconds: float, say: Callable[[str], None]) -> None:
        """Returns after so many counted faults, or after so many seconds; every zombie is awake again."""
        begin = time.monotonic()
        told = 0
        while self.counted.total() < faults and time.monotonic() - begin < seconds:
            self._wake_zombies()
            self._check_load()
            # Now and then the kind that has come least: a short storm has all of them.
            (kind,) = self.rng.choices(list(self._kinds), self._weights)
            if self.rng.random() < 0.3:
                kind = min(self._kinds, key=lambda k: (self.counted[k] + self.missed[k] / 4, k))
            try:
                hit = self._kinds[kind]()
            except ProcessLookupError:
                hit = False
            (self.counted if hit else self.missed)[kind] += 1
            self.seconds = time.monotonic() - begin
            if self.counted.total() >= told + 20:
                told = self.counted.total()
                say(f"{told} faults in {self.seconds:.0f} s, {len(self.load.accepted.jobs())} jobs accepted")
            time.sleep(self.rng.uniform(0.0, 0.4))
        while self._zombies:
            self._wake_zombies()
            time.sleep(0.1)
        self.seconds = time.monotonic() - begin

    # Victims

    def _victims(self) -> list[Victim]:
        rows = self.deployment.ask_once(
            "SELECT id, token, worker, checkpoint_step FROM job "
            "WHERE kind = 'train' AND status = 'running' AND stalls < :spared ORDER BY id",
            spared=SPARED_STALLS,
        )
        ours = set(self.deployment.train_workers)
        frozen = {victim.worker for _, victim in self._zombies}
        found = [Victim(r.id, r.token, int(r.worker.rpartition(":")[2]), r.checkpoint_step) for r in rows]
        return [victim for victim in found if victim.worker in ours - frozen]

    def _holds(self, victim: Victim) -> bool:
        """Whether the row says that the job runs under this claim."""
        return bool(
            self.deployment.ask_once(
                "SELECT id FROM job WHERE id = :job AND token = :token AND status = 'running' "
                "AND stalls < :spared AND worker LIKE :worker",
                job=victim.job,
                token=victim.token,
                spared=SPARED_STALLS,
                worker=f"%:{victim.worker}",
            )
        )

    def _anything_runs(self) -> bool:
        return bool(
            self.deployment.ask_once("SELECT id FROM job WHERE kind = 'train' AND status = 'running' LIMIT 1")
        )

    def _aim(self, moment: str) -> Victim | None:
        """A victim that is now, as far as its trainer's marks tell, where it is wanted."""
        give_up = time.monotonic() + AIM_SECONDS
        while time.monotonic() < give_up:
            victims = self._victims()
            self.rng.shuffle(victims)
            end = time.monotonic() + 0.25
            while time.monotonic() < end:
                self.marks.read()
                for victim in victims:
                    if _is_at(moment, self.marks.last.get((victim.job, victim.token))):
                        return victim
                time.sleep(0.004)
        return None

    def _strike(self, process: int, victim: Victim, moment: str) -> bool:
        """Freezes a process, makes sure of the moment, kills it."""
        freeze(process)
        mark = self.marks.of(victim.job, victim.token)
        if self._holds(victim) and _is_at(moment, mark):
            os.kill(process, signal.SIGKILL)
            return True
        os.kill(process, signal.SIGCONT)
        return False

    # Faults

    def _kill_worker(self, moment: str) -> bool:
        victim = self._aim(moment)
        if victim is None:
            return False
        if moment != "finishing":
            time.sleep(self.rng.uniform(0.0, 0.03))
        else:
            time.sleep(self.rng.uniform(0.0, 0.1))
        return self._strike(victim.worker, victim, moment)

    def _kill_trainer(self, moment: str) -> bool:
        victim = self._aim(moment)
        if victim is None:
            return False
        trainer = self.deployment.trainer_of(victim.worker, victim.job)
        return trainer is not None and self._strike(trainer, victim, moment)

    def _terminate_worker(self) -> bool:
        victim = self._aim("training")
        if victim is None or not self._holds(victim):
            return False
        os.kill(victim.worker, signal.SIGTERM)
        return True

    def _freeze_worker(self) -> bool:
        """Its lease passes, somebody else goes on with the job; then it wakes and finds itself refused.

        Where one is there, a job whose trainer would still be busy by then is taken: it must not be.
        """
        if len(self._zombies) >= self.deployment.workers // 2:
            return False  # somebody has to be there to go on
        victim = self._aim("long") or self._aim("training")
        if victim is None:
            return False
        freeze(victim.worker)
        writes = isinstance(self.deployment, Embedded) and self.deployment.is_locked()
        if writes or not self._holds(victim):
            os.kill(victim.worker, signal.SIGCONT)
            self.frozen_writers += writes
            return False
        self._zombies.append((time.monotonic() + self._lease + self.rng.uniform(0.5, 4), victim))
        return True

    def _wake_zombies(self) -> None:
        for zombie in list(self._zombies):
            due, victim = zombie
            if time.monotonic() < due:
                continue
            # Not before its successor steps: what its own trainer would do beside that one is the question.
            if not self._is_succeeded(victim) and time.monotonic() < due + 2 * self._lease:
                continue
            if not self._holds(victim):
                self.refused_zombies += 1
                self.succeeded_zombies += self._is_succeeded(victim)
            with suppress(ProcessLookupError):
                os.kill(victim.worker, signal.SIGCONT)
            self._zombies.remove(zombie)

    def _is_succeeded(self, victim: Victim) -> bool:
        """Whether the trainer of a later claim of the job is at work, for a second at least."""
        self.marks.read()
        mark = max(
            (mark for (job, _), mark in self.marks.last.items() if job == victim.job),
            key=lambda mark: mark.token,
            default=None,
        )
        return (
            mark is not None
            and mark.token > victim.token
            and mark.step >= victim.checkpoint_step + LATER_STEPS
        )

    def _exhaust_memory(self) -> bool:
        victim = self._aim("training")
        if victim is None or not self._holds(victim):
            return False
        file = self.deployment.orders / victim.job
        file.touch()
        give_up = time.monotonic() + AIM_SECONDS
        while time.monotonic() < give_up:
            mark = self.marks.of(victim.job, victim.token)
            if mark is not None and mark.what == "out-of-memory":
                self.out_of_memory.add(victim.job)
                return True
            time.sleep(0.02)
        file.unlink(missing_ok=True)
        return False

    def _kill_api(self) -> bool:
        apis = self.deployment.apis
        if not apis or not self._anything_runs():
            return False
        wanted = self.load.next()
        thread = threading.Thread(target=self.load.submit, args=[wanted])
        thread.start()
        time.sleep(self.rng.uniform(0.0, 0.08))
        process = self.rng.choice(apis)
        in_flight = thread.is_alive() and self._anything_runs()
        os.kill(process, signal.SIGKILL)
        thread.join()
        return in_flight

    def _repeat_hints(self) -> bool:
        victims = self._victims()
        if not victims:
            return False
        victim = self.rng.choice(victims)
        sent = [self.deployment.hints.send(victim.job, "train") for _ in range(self.rng.randint(2, 10))]
        return all(sent) and self._holds(victim)

    def _delete_hints(self) -> bool:
        assert isinstance(self.deployment, Embedded)
        running = self._anything_runs()
        self.deployment.forget_hints()
        return running

    def _flush_redis(self) -> bool:
        assert isinstance(self.deployment, Distributed)
        assert self.deployment.redis is not None
        running = self._anything_runs()
        self.deployment.redis.flush()
        return running

    def _kill_redis(self) -> bool:
        assert isinstance(self.deployment, Distributed)
        assert self.deployment.redis is not None
        running = self._anything_runs()
        self.deployment.redis.kill()
        time.sleep(self.rng.uniform(0.2, 3.0))
        self.deployment.redis.start()
        return running

    def _kill_postgresql(self) -> bool:
        assert isinstance(self.deployment, Distributed)
        assert self.deployment.postgresql is not None
        running = self._anything_runs()
        self.deployment.postgresql.kill()
        time.sleep(self.rng.uniform(0.1, 1.5))
        self.deployment.postgresql.start()
        return running

    def _check_load(self) -> None:
        if self.load.errors:
            raise self.load.errors[0]


def freeze(process: int) -> None:
    """Stops a process and waits until each of its threads stands still: one that is within a call of the
    kernel, say for a lock, ends that first."""
    os.kill(process, signal.SIGSTOP)
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up and not _stands_still(process):
        time.sleep(0.001)


def _stands_still(process: int) -> bool:
    for thread in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if thread.read_text().rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True


def retry_failed(deployment: Deployment, job: str) -> None:
    """Asks for a failed job to be tried again, as a user would."""
    with suppress(httpx.TransportError):
        answer = httpx.post(f"{deployment.addresses[0]}/v1/jobs/{job}/retry", timeout=20)
        assert answer.status_code in (200, 202) or answer.status_code >= 500, answer.text


def _is_at(moment: str, mark: Mark | None) -> bool:
    if moment == "preparing":
        return mark is None or mark.what == "begin"
    if mark is None:
        return False
    if moment == "long":
        return mark.what == "step" and (mark.steps - mark.step) * PACE_SECONDS > LONG_SECONDS
    return mark.what in MOMENTS[moment]
