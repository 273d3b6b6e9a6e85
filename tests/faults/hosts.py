"""`python -m tests.faults.hosts`: trainings on several hosts, one of which is cut off twice and returned.

A host is a network namespace with a host name and a data directory of its own. The first has PostgreSQL,
Redis, an object store and the API, each other one a worker of the train queue. A cut takes all of the network
from a host at once. It counts only when the host held a running row, and lasts until another host has gone on
with that job. Needs root, for the namespaces; nothing outside of them is touched.
"""

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from tests.faults.deployments import Distributed, Part, installed_servers
from tests.faults.invariants import Findings, examine
from tests.faults.load import Load
from tests.faults.marks import MarksFile
from tests.faults.network import FIRST, SUBNET, Cut, Network, on_a_host_of_its_own, why_not
from tests.faults.notes import publish, report, say
from tests.faults.partitions import closest
from tests.object_store import ObjectStore
from tests.servers import PostgreSQL, RedisServer

HEARTBEAT, LEASE, MARGIN = 0.5, 6.0, 2.0
ENVIRONMENT = {
    "HARMONICDET_HEARTBEAT_SECONDS": str(HEARTBEAT),
    "HARMONICDET_LEASE_SECONDS": str(LEASE),
    "HARMONICDET_LEASE_MARGIN_SECONDS": str(MARGIN),
    "FAULTS_PACE": "0.4",  # so slow that jobs still wait when the host has come back for the second time
}
END_SECONDS = 600.0
VICTIM = 0


class Hosts(Distributed):
    """`Distributed` with every worker of the train queue on a host of its own."""

    name = "hosts"

    def __init__(self, network: Network, *, workers: int) -> None:
        super().__init__(workers=workers, apis=1, environment=ENVIRONMENT)
        self._network = network
        self._store: ObjectStore | None = None

    def add_workers(self, number: int) -> None:
        for index in range(number):
            name = f"worker-{index + 1}"
            environment = self.environment | {"HARMONICDET_DATA": str(self.root / "hosts" / name)}
            part = Part(
                name,
                ["worker", "--queue", "train"],
                environment,
                self.data / "logs" / f"{name}.log",
                prefix=self._network.on(index, name),
            )
            part.keep()
            self._parts.append(part)

    def _start_servers(self) -> None:
        programs, program = installed_servers()
        self.postgresql = PostgreSQL(programs, address=FIRST, allow=SUBNET)
        self.postgresql.start()
        self.redis = RedisServer(program, address=FIRST)
        self.redis.start()
        self._store = ObjectStore(FIRST)
        self._store.start()
        database = make_url(self.postgresql.new_database()).set(host=FIRST)
        self.environment |= {
            "HARMONICDET_DATABASE_URL": database.render_as_string(hide_password=False),
            "HARMONICDET_BROKER_URL": f"redis://{FIRST}:{self.redis.port}/0",
        }
        self.environment |= self._store.environment()

    def _close(self) -> None:
        super()._close()
        if self._store is not None:
            self._store.close()


@dataclass
class Outcome:
    """What was done, and what came of it."""

    cuts: list[tuple[Cut, float]] = field(default_factory=list)  # how, and for how many seconds
    begun_after: list[int] = field(default_factory=list)  # jobs that the victim began after each return
    by_host: Counter[str] = field(default_factory=Counter)  # claims
    seconds: float = 0.0
    findings: Findings = field(default_factory=Findings)
    closest: float = float("inf")  # seconds between two trainers of one job
    left: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.findings.whole and not self.left


def run(jobs: int, workers: int, seed: int) -> Outcome:
    """In a namespace that has nothing yet: see `on_a_host_of_its_own`."""
    outcome = Outcome()
    with Network(workers) as network, Hosts(network, workers=workers) as deployment:
        load = Load(deployment, deployment.upload(), seed=seed, in_flight=0, clients=0, brief=True)
        begun = time.monotonic()
        for _ in range(jobs):
            load.submit(load.next())
        open_ = "SELECT id, status FROM job WHERE kind = 'train' AND status IN ('queued', 'running')"
        idle = []
        for how in Cut:
            outcome.cuts.append((how, _cut_off(deployment, network, how)))
            deployment.until(lambda: _held(deployment) or not deployment.ask(open_), END_SECONDS)
            if _held(deployment) is None:
                idle.append(f"after {how.value}")
            outcome.begun_after.append(_begun(deployment)[f"worker-{VICTIM + 1}"])
        deadline = time.monotonic() + END_SECONDS
        while deployment.ask(open_) and time.monotonic() < deadline:
            time.sleep(0.2)
        outcome.seconds = time.monotonic() - begun
        outcome.findings = examine(deployment, load.orders, load.accepted)
        outcome.findings.check("as many jobs as were sent", _missing(deployment, jobs))
        outcome.findings.check("who was cut off is at work again", idle)
        outcome.by_host = _begun(deployment)
        outcome.closest = closest(MarksFile(deployment.marks).read())
        outcome.left = deployment.stop()
    return outcome


def _cut_off(deployment: Hosts, network: Network, how: Cut) -> float:
    """Cuts the victim off while it trains, until another host is at work on its job; seconds of the cut."""
    held = deployment.until(lambda: _held(deployment), END_SECONDS)
    network.cut(VICTIM, how)
    begun = time.monotonic()
    say(f"{how.value}; it held {held.id}")
    taken_over = "SELECT id FROM job WHERE id = :id AND token > :token AND checkpoint_step > :step"
    wanted = {"id": held.id, "token": held.token, "step": held.checkpoint_step}
    try:
        deployment.until(lambda: deployment.ask(taken_over, **wanted), END_SECONDS)
    finally:
        network.mend(VICTIM)
    return time.monotonic() - begun


def _held(deployment: Hosts) -> Any:
    """The row that the victim runs, once there is a checkpoint to go on from."""
    rows = deployment.ask(
        "SELECT id, token, checkpoint_step FROM job WHERE status = 'running' AND worker LIKE :worker "
        "AND stalls = 0 AND checkpoint_step > 0",
        worker=f"%@worker-{VICTIM + 1}:%",
    )
    return rows[0] if rows else None


def _begun(deployment: Hosts) -> Counter[str]:
    """How often each host has begun a job."""
    rows = deployment.ask("SELECT data ->> 'worker' AS worker FROM job_event WHERE type = 'job.started'")
    return Counter(row.worker.partition("@")[2].partition(":")[0] for row in rows if "train@" in row.worker)


def _missing(deployment: Hosts, jobs: int) -> list[str]:
    (row,) = deployment.ask(
        "SELECT count(*) AS number FROM job WHERE kind = 'train' AND status = 'succeeded'"
    )
    return [] if row.number == jobs else [f"{row.number} of {jobs} succeeded"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hosts", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3, help="hosts beside that of the API")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--on-the-first-host", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.on_the_first_host:
        missing = why_not()
        if missing is not None:
            say(f"skipped: {missing}")
            return 0
        arguments = [*sys.argv[1:], "--seed", str(options.seed), "--on-the-first-host"]
        return on_a_host_of_its_own(["-m", "tests.faults.hosts", *arguments])
    outcome = run(options.jobs, options.workers, options.seed)
    publish(_report(outcome, options.jobs, options.workers, options.seed), options.report)
    for claim, cases in outcome.findings.broken.items():
        for case in cases[:20]:
            say(f"{claim}: {case}")
    for process in outcome.left:
        say(f"left: {process}")
    return 0 if outcome.whole else 1


def _report(outcome: Outcome, jobs: int, workers: int, seed: int) -> str:
    text = (
        f"A host with PostgreSQL, Redis, S3 (moto) and the API, and {workers} hosts with a worker each, all "
        f"network namespaces on one bridge; heartbeat {HEARTBEAT:g} s, lease {LEASE:g} s, margin "
        f"{MARGIN:g} s. "
        f"{jobs} jobs in {outcome.seconds:.0f} s, while `worker-{VICTIM + 1}` was cut off "
        f"{len(outcome.cuts)} times, each time from a running row of its own until another host had gone on "
        "with it beyond its checkpoint."
    )
    cuts: list[list[object]] = [["cut", "seconds", "jobs it had begun when it was back at work"]]
    cuts += [
        [how.value, seconds, begun]
        for (how, seconds), begun in zip(outcome.cuts, outcome.begun_after, strict=True)
    ]
    checks: list[list[object]] = [["after it", "contradictions"]]
    checks += [[claim, len(cases)] for claim, cases in outcome.findings.broken.items()]
    checks.append(["no process is left 5 s after the service was stopped", len(outcome.left)])
    numbers: list[list[object]] = [["", ""]]
    numbers += [[f"jobs begun by {host}", count] for host, count in sorted(outcome.by_host.items())]
    numbers.append(["least time between two trainers of one job, s", outcome.closest])
    for name, value in outcome.findings.numbers.items():
        told = (
            ", ".join(f"{count} {key}" for key, count in value.items()) if isinstance(value, dict) else value
        )
        numbers.append([name, told])
    command = f"python -m tests.faults.hosts --jobs {jobs} --workers {workers} --seed {seed}"
    title = f"{jobs} jobs on {workers} hosts, one of them cut off twice"
    return report(title, command, text, [cuts, checks, numbers])


if __name__ == "__main__":
    sys.exit(main())
