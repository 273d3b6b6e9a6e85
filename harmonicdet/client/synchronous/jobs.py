"""Jobs: start them, ask something of them, watch them."""

# Written by `make client` from asynchronous/jobs.py.

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.errors import JobFailed
from harmonicdet.client.progress import FINISHED, Watcher
from harmonicdet.client.shapes import (
    CheckpointView,
    DatasetView,
    EventView,
    JobKind,
    JobPlan,
    JobStatus,
    JobView,
    ManifestView,
    MetricView,
    TrainConfig,
)
from harmonicdet.client.synchronous import events
from harmonicdet.client.synchronous.bound import Bound, Resource
from harmonicdet.client.synchronous.pages import Pages
from harmonicdet.client.synchronous.waiting import states, watch

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.models import ModelDetail


class Job(Bound, JobView):
    """One piece of asynchronous work."""

    def refresh(self) -> "Job":
        """As it is now."""
        return self._client.jobs.get(self.id)

    def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> "Job":
        """As it is when it has succeeded. `progress=True` shows a bar.

        Raises `JobFailed`; after `timeout` seconds `WaitTimedOut`: the job itself goes on.
        """
        return self._client.jobs.wait(self.id, progress=progress, timeout=timeout)

    def events(self, *, follow: bool = False, after: int = 0) -> Iterator[EventView]:
        """What has happened to it; with `follow` also what happens, until it has ended."""
        return self._client.jobs.events(self.id, follow=follow, after=after)

    def history(self, *, split: str | None = None) -> Pages[MetricView]:
        """Numbers of training steps and of evaluations, by rising step."""
        return self._client.jobs.metrics(self.id, split=split)

    def logs(self) -> str:
        """The last lines of its log."""
        return self._client.jobs.logs(self.id)

    def model(self) -> "ModelDetail":
        """The model it has made. Raises `JobFailed` when there is none."""
        found = self.model_id or (self.refresh()).model_id
        if found is None:
            raise JobFailed(self)
        return self._client.models.get(found)

    def cancel(self) -> "Job":
        """End it without a result."""
        return self._client.jobs.cancel(self.id)

    def pause(self) -> "Job":
        """Keep its checkpoint and free its worker, until it is resumed."""
        return self._client.jobs.pause(self.id)

    def resume(self) -> "Job":
        """Queue it again after a pause."""
        return self._client.jobs.resume(self.id)

    def stop(self) -> "Job":
        """End the training now, with a model."""
        return self._client.jobs.stop(self.id)

    def retry(self) -> "Job":
        """Queue it again after it has failed or was cancelled."""
        return self._client.jobs.retry(self.id)


class Jobs(Resource):
    """`client.jobs`."""

    def create(self, body: Mapping[str, Any]) -> Job:
        """A job of a whole body of `POST /v1/jobs`, for what `train` and `evaluate` do not say."""
        return self._make(self._transport.json("create_job", body=dict(body)))

    def train(
        self,
        dataset: str | DatasetView,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        max_attempts: int | None = None,
        progress_timeout_seconds: float | None = None,
        **config: Unpack[TrainConfig],
    ) -> Job:
        """Train on a dataset, which may still be validating. What is left out has its default."""
        said = given(
            name=name,
            metadata=None if metadata is None else dict(metadata),
            max_attempts=max_attempts,
            progress_timeout_seconds=progress_timeout_seconds,
        )
        return self.create(_training(dataset, config) | {"priority": priority} | said)

    def plan(self, dataset: str | DatasetView, **config: Unpack[TrainConfig]) -> JobPlan:
        """What a training would be, without starting it: its steps, its disk, why it may disappoint."""
        answer = self._transport.json("create_job", query={"dry_run": True}, body=_training(dataset, config))
        return JobPlan(answer)

    def get(self, job: str) -> Job:
        """The job with this id."""
        return self._make(self._transport.json("get_job", {"job_id": job}))

    def list(
        self,
        *,
        status: JobStatus | None = None,
        kind: JobKind | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> Pages[Job]:
        """Jobs by age, the newest first."""
        query = given(status=status, kind=kind, metadata=metadata, order=order)
        return Pages(self._transport, "list_jobs", self._make, query=query, limit=limit)

    def wait(
        self, job: str | JobView, *, progress: bool | Watcher = False, timeout: float | None = None
    ) -> Job:
        """As it is when it has succeeded. Raises `JobFailed`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_job",
            {"job_id": id_of(job)},
            ended=lambda state: state["status"] in FINISHED,
            timeout=timeout,
        )
        ended = self._make(watch(found, progress))
        if ended.status != "succeeded":
            raise JobFailed(ended)
        return ended

    def events(self, job: str | JobView, *, follow: bool = False, after: int = 0) -> Iterator[EventView]:
        """What has happened to it after event `after`; with `follow` also what happens, to its end."""
        if follow:
            return events.follow(self._transport, id_of(job), after)
        query = {"after": after} if after else {}
        pages = Pages(self._transport, "get_job_events", EventView, {"job_id": id_of(job)}, query=query)
        return iter(pages)

    def metrics(
        self, job: str | JobView, *, split: str | None = None, after: str | int | None = None
    ) -> Pages[MetricView]:
        """Numbers of steps and evaluations, by rising step; `split` is `train`, or the one evaluated.

        `after`: the id of the last one that is known, for what has come since; or a step.
        """
        path, query = {"job_id": id_of(job)}, given(split=split, after=after)
        return Pages(self._transport, "get_job_metrics", MetricView, path, query=query, page=1000)

    def checkpoints(self, job: str | JobView) -> "list_[CheckpointView]":
        """What is kept to go on from."""
        answer = self._transport.json("list_job_checkpoints", {"job_id": id_of(job)})
        return [CheckpointView(raw) for raw in answer["data"]]

    def manifest(self, job: str | JobView) -> ManifestView:
        """Everything that decided the result: config, data, seeds, versions, device, and hashes of them."""
        return ManifestView(self._transport.json("get_job_manifest", {"job_id": id_of(job)}))

    def logs(self, job: str | JobView) -> str:
        """The last lines of its log, oldest first."""
        answer = self._transport.ask("get_job_logs", {"job_id": id_of(job)})
        return answer.text

    def cancel(self, job: str | JobView) -> Job:
        """End it without a result: at once when it is queued, within seconds when it runs."""
        return self._asked("cancel_job", job)

    def pause(self, job: str | JobView) -> Job:
        """Keep its checkpoint and free its worker, until it is resumed."""
        return self._asked("pause_job", job)

    def resume(self, job: str | JobView) -> Job:
        """Queue it again after a pause; it goes on from its checkpoint."""
        return self._asked("resume_job", job)

    def stop(self, job: str | JobView) -> Job:
        """End the training at the next step; evaluation and export follow."""
        return self._asked("stop_job", job)

    def retry(self, job: str | JobView) -> Job:
        """Queue it again after it has failed or was cancelled, from its last checkpoint."""
        return self._asked("retry_job", job)

    def _asked(self, operation: str, job: str | JobView) -> Job:
        return self._make(self._transport.json(operation, {"job_id": id_of(job)}))

    def _make(self, raw: dict[str, Any]) -> Job:
        return Job(raw, self._client)


list_ = list  # within a class that has a method `list`


def _training(dataset: str | DatasetView, config: TrainConfig) -> dict[str, Any]:
    return {"kind": "train", "dataset_id": id_of(dataset), "config": dict(config)}
