"""`AsyncClient`: where everything begins."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, Self, Unpack

import httpx

from harmonicdet.client.asking import RETRIES
from harmonicdet.client.asynchronous import backend
from harmonicdet.client.asynchronous.comparisons import Arms, AsyncComparisonDetail, AsyncComparisons
from harmonicdet.client.asynchronous.datasets import AsyncDatasets
from harmonicdet.client.asynchronous.evaluations import AsyncEvaluation, AsyncEvaluations
from harmonicdet.client.asynchronous.jobs import AsyncJob, AsyncJobs
from harmonicdet.client.asynchronous.models import AsyncAliases, AsyncModels
from harmonicdet.client.asynchronous.operating import (
    AsyncArchitectures,
    AsyncKeys,
    AsyncStorage,
    AsyncUploads,
    AsyncWebhooks,
    AsyncWorkers,
)
from harmonicdet.client.asynchronous.predictions import AsyncPrediction
from harmonicdet.client.asynchronous.searches import AsyncSearchDetail, AsyncSearches, Space
from harmonicdet.client.asynchronous.transport import AsyncTransport
from harmonicdet.client.images import Image
from harmonicdet.client.settings import place
from harmonicdet.client.shapes import (
    DatasetView,
    HealthView,
    IndexView,
    JobPlan,
    MeView,
    ModelDetailView,
    ModelView,
    ReadyView,
    TrainConfig,
)


class AsyncClient:
    """A service of HarmonicDet. Nothing is asked before it is needed; a client may be shared.

    Args:
        url: where it is; else `HARMONICDET_URL`, else this machine.
        api_key: the key (`hd_…`); else `HARMONICDET_API_KEY`, which is sent to the address of the environment
            only. A service on its own machine needs none.
        timeout: seconds without an answer after which a request is given up.
        retries: how often what may be repeated is repeated.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = RETRIES,
        sleep: backend.Sleep = backend.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.transport = AsyncTransport(
            place(url, api_key), timeout=timeout, retries=retries, sleep=sleep, transport=transport
        )
        self.datasets = AsyncDatasets(self)
        self.uploads = AsyncUploads(self)
        self.architectures = AsyncArchitectures(self)
        self.jobs = AsyncJobs(self)
        self.models = AsyncModels(self)
        self.aliases = AsyncAliases(self)
        self.evaluations = AsyncEvaluations(self)
        self.comparisons = AsyncComparisons(self)
        self.searches = AsyncSearches(self)
        self.webhooks = AsyncWebhooks(self)
        self.keys = AsyncKeys(self)
        self.workers = AsyncWorkers(self)
        self.storage = AsyncStorage(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.transport.url!r})"

    async def close(self) -> None:
        """Close its connections."""
        await self.transport.close()

    async def train(
        self,
        dataset: str | PathLike[str] | DatasetView,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        **config: Unpack[TrainConfig],
    ) -> AsyncJob:
        """Train on a dataset of the service, or its id; or on a zip or folder, which is uploaded."""
        if not isinstance(dataset, DatasetView) and not str(dataset).startswith("ds_"):
            dataset = await self.datasets.upload(dataset)
        found = dataset if isinstance(dataset, DatasetView) else str(dataset)
        return await self.jobs.train(found, name=name, metadata=metadata, priority=priority, **config)

    async def plan(self, dataset: str | DatasetView, **config: Unpack[TrainConfig]) -> JobPlan:
        """What a training would be, without starting it."""
        return await self.jobs.plan(dataset, **config)

    async def predict(
        self, model: str | ModelView | ModelDetailView, image: Image, **options: Any
    ) -> AsyncPrediction:
        """What a model, by id or alias, finds on an image; see `client.models.predict`."""
        return await self.models.predict(model, image, **options)

    async def evaluate(
        self, model: str | ModelView | ModelDetailView, dataset: str | DatasetView, **options: Any
    ) -> AsyncEvaluation:
        """Measure a model on a dataset; see `client.evaluations.create`."""
        return await self.evaluations.create(model, dataset, **options)

    async def compare(self, dataset: str | DatasetView, arms: Arms, **options: Any) -> AsyncComparisonDetail:
        """Which way of training is better; see `client.comparisons.create`."""
        return await self.comparisons.create(dataset, arms, **options)

    async def search(self, dataset: str | DatasetView, space: Space, **options: Any) -> AsyncSearchDetail:
        """Which values train the best detector; see `client.searches.create`."""
        return await self.searches.create(dataset, space, **options)

    async def me(self) -> MeView:
        """The project, scopes, quotas and usage of the key."""
        return MeView(await self.transport.json("get_me"))

    async def index(self) -> IndexView:
        """Name and version of the service, and where things are."""
        return IndexView(await self.transport.json("index"))

    async def health(self) -> HealthView:
        """Whether it answers."""
        return HealthView(await self.transport.json("healthz"))

    async def ready(self) -> ReadyView:
        """Whether everything it needs is there. Raises `ServiceFailed` when not."""
        return ReadyView(await self.transport.json("readyz", retries=0))

    async def metrics(self) -> str:
        """Numbers for Prometheus, of the whole service."""
        answer = await self.transport.ask("get_metrics")
        return answer.text
