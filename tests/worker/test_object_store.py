"""An object store that is away: jobs wait for it, and no attempt is lost by that."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from store import jobs
from store.errors import BlobsUnavailable
from store.tables import DEFAULT_PROJECT, Job, JobStatus, RequestedAction
from tests.worker.helpers import in_background, until
from worker.kinds import Workshop
from worker.supervise import Supervisor


class Outage:
    """Every put and fetch fails until `over`."""

    def __init__(self, shop: Workshop, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.met = threading.Event()
        self.over = threading.Event()
        for name in names:
            monkeypatch.setattr(shop.blobs, name, self._away(getattr(shop.blobs, name)))

    def _away(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*arguments: Any, **more: Any) -> Any:
            if not self.over.is_set():
                self.met.set()
                raise BlobsUnavailable
            return act(*arguments, **more)

        return attempt


@pytest.mark.parametrize("name", ["local_path", "put_file"])
def test_a_job_goes_on_when_the_object_store_is_back(
    shop: Workshop,
    supervisor: Supervisor,
    submit: Callable[..., str],
    row: Callable[[str], Job],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Away before the trainer begins, and away when its results are to be kept."""
    job_id = submit(steps=2)
    outage = Outage(shop, monkeypatch, name)
    with in_background(lambda: supervisor.work(job_id)):
        assert outage.met.wait(20)
        outage.over.set()
    job = row(job_id)
    assert (job.status, job.attempt, job.stalls) == (JobStatus.SUCCEEDED, 1, 0)


def test_a_worker_that_is_to_end_gives_back_a_job_that_waits(
    shop: Workshop,
    supervisor: Supervisor,
    submit: Callable[..., str],
    row: Callable[[str], Job],
    stopping: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(steps=2)
    outage = Outage(shop, monkeypatch, "local_path")
    with in_background(lambda: supervisor.work(job_id)):
        assert outage.met.wait(20)
        stopping.set()
    job = row(job_id)
    assert (job.status, job.stalls) == (JobStatus.QUEUED, 0)


def test_a_job_that_waits_can_be_cancelled(
    shop: Workshop,
    supervisor: Supervisor,
    submit: Callable[..., str],
    row: Callable[[str], Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(steps=2)
    outage = Outage(shop, monkeypatch, "local_path")
    with in_background(lambda: supervisor.work(job_id)):
        assert outage.met.wait(20)
        shop.database.run(
            lambda session: jobs.request(session, DEFAULT_PROJECT, job_id, RequestedAction.CANCEL)
        )
        until(lambda: row(job_id).status is JobStatus.CANCELLED)
