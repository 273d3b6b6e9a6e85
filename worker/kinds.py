"""What a kind of job adds to the supervision they all share: a command, and what its result becomes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sqlalchemy.orm import Session

from store.blobs import Blobs
from store.jobs import Claim
from store.queue import Hints
from store.sessions import Database
from worker.cache import Datasets
from worker.failures import JobFailed
from worker.settings import WorkerSettings

# The fenced transaction that ends a job: what the work became and the job's own status, together. Returns
# (job, queue) of the jobs that can start now, to be hinted after the commit.
Ending: TypeAlias = Callable[[Session], list[tuple[str, str]]]


@dataclass(frozen=True)
class Workshop:
    """What every job of this process works with."""

    database: Database
    blobs: Blobs
    cache: Datasets
    hints: Hints
    settings: WorkerSettings


class Kind(ABC):
    """One kind of job. Nothing here writes a row: that is left to the ending, in one fenced transaction."""

    @abstractmethod
    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        """Fetches what the child needs; returns its arguments. Raises `JobFailed` where it cannot be had."""

    @abstractmethod
    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        """Ships what the complete run has made to the blobs; returns how the job ends."""

    def succeeded(self, shop: Workshop, claim: Claim) -> None:
        """After the job has ended well and that is committed: tells others. Nothing can fail any more."""
        return

    def failure(self, shop: Workshop, claim: Claim, run: Path, failure: JobFailed) -> Ending | None:
        """How the job ends when the detector has refused its input; None for the job's plain failure."""
        return None
