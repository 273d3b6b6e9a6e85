"""Clients that keep jobs in flight, whatever happens to the API that they talk to."""

import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.deployments import Deployment

PATIENCE_SECONDS = 900.0  # of a client; a busy machine starts an API slowly


@dataclass(frozen=True)
class Order:
    """A submission: `key` is its Idempotency-Key, the seed of its training is unique in the storm."""

    key: str
    body: dict[str, Any]


@dataclass
class Accepted:
    """What was acknowledged: for every order every id that it was answered with."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    retries: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def jobs(self) -> list[str]:
        with self.lock:
            return [ids[0] for ids in self.ids.values()]


def order(prefix: str, number: int, dataset: str, rng: random.Random, *, brief: bool = False) -> Order:
    """A training of 30 to 120 steps, or now and then, unless `brief`, of 600."""
    config = {
        "architecture": "ssdlite320_mobilenet_v3_large",
        # Most are short, so that many end; some outlast a lease by far.
        "epochs": rng.choice([3, 4, 5] if brief else [3, 4, 5, 6, 8, 12, 60]),
        "batch_size": 1,
        "checkpoint_every_steps": rng.choice([3, 5, 8]),
        "seed": number,
    }
    body = {"kind": "train", "dataset_id": dataset, "config": config, "priority": rng.choice([-1, 0, 0, 1])}
    return Order(f"{prefix}-{number}", body)


def submit(
    addresses: Sequence[str], wanted: Order, accepted: Accepted, stopping: threading.Event | None = None
) -> str:
    """Id of the job; asked for again and again, at one API after the other, until one acknowledges it."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    attempt = sum(map(ord, wanted.key))
    while True:
        with suppress(httpx.TransportError):
            answer = httpx.post(
                f"{addresses[attempt % len(addresses)]}/v1/jobs",
                json=wanted.body,
                headers={"Idempotency-Key": wanted.key},
                timeout=20,
            )
            if answer.status_code == 202:
                with accepted.lock:
                    accepted.ids.setdefault(wanted.key, []).append(answer.json()["id"])
                return str(answer.json()["id"])
            # With Retry-After: 429, or 409 while an API that has died still holds the order's key.
            if answer.status_code < 500 and "Retry-After" not in answer.headers:
                with accepted.lock:
                    accepted.refused.append(f"{wanted.key}: {answer.status_code} {answer.text}")
                return ""
        attempt += 1
        with accepted.lock:
            accepted.retries += 1
        if time.monotonic() > give_up:
            raise TimeoutError(f"{wanted.key} was acknowledged by nobody within {PATIENCE_SECONDS:g} s")
        time.sleep(0.1)


class Load:
    """Keeps `in_flight` jobs queued or running, submitted by `clients` threads; use as a context manager."""

    def __init__(
        self,
        deployment: Deployment,
        dataset: str,
        *,
        seed: int,
        in_flight: int,
        clients: int = 2,
        brief: bool = False,
    ) -> None:
        self._brief = brief
        self._deployment = deployment
        self._dataset = dataset
        self._in_flight = in_flight
        self._rng = random.Random(seed)
        self._prefix = f"storm-{seed}"
        self._number = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        self.orders: dict[str, Order] = {}
        self.accepted = Accepted()
        self.errors: list[BaseException] = []
        self.waiting = 0  # submissions that have not been answered yet

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def next(self) -> Order:
        """One more order, to be submitted by the caller."""
        with self._lock:
            self._number += 1
            made = order(self._prefix, self._number, self._dataset, self._rng, brief=self._brief)
            self.orders[made.key] = made
            self.waiting += 1
            return made

    def submit(self, wanted: Order) -> str:
        try:
            return submit(self._deployment.addresses, wanted, self.accepted)
        finally:
            with self._lock:
                self.waiting -= 1

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.2):
                (open_,) = self._deployment.ask(
                    "SELECT count(*) FROM job WHERE kind = 'train' AND status IN ('queued', 'running')"
                )[0]
                if open_ + self.waiting < self._in_flight:
                    self.submit(self.next())
        except BaseException as error:
            self.errors.append(error)
