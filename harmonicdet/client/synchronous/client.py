"""`Client`: where everything begins."""

# Written by `make client` from asynchronous/client.py.

from collections.abc import Mapping
from os import PathLike
from typing import Any, Self, Unpack

import httpx

from harmonicdet.client.asking import RETRIES
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
from harmonicdet.client.synchronous import backend
from harmonicdet.client.synchronous.comparisons import Arms, ComparisonDetail, Comparisons
from harmonicdet.client.synchronous.datasets import Datasets
from harmonicdet.client.synchronous.evaluations import Evaluation, Evaluations
from harmonicdet.client.synchronous.jobs import Job, Jobs
from harmonicdet.client.synchronous.models import Aliases, Models
from harmonicdet.client.synchronous.operating import (
    Architectures,
    Keys,
    Storage,
    Uploads,
    Webhooks,
    Workers,
)
from harmonicdet.client.synchronous.predictions import Prediction
from harmonicdet.client.synchronous.searches import SearchDetail, Searches, Space
from harmonicdet.client.synchronous.transport import Transport


class Client:
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.transport = Transport(
            place(url, api_key), timeout=timeout, retries=retries, sleep=sleep, transport=transport
        )
        self.datasets = Datasets(self)
        self.uploads = Uploads(self)
        self.architectures = Architectures(self)
        self.jobs = Jobs(self)
        self.models = Models(self)
        self.aliases = Aliases(self)
        self.evaluations = Evaluations(self)
        self.comparisons = Comparisons(self)
        self.searches = Searches(self)
        self.webhooks = Webhooks(self)
        self.keys = Keys(self)
        self.workers = Workers(self)
        self.storage = Storage(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.transport.url!r})"

    def close(self) -> None:
        """Close its connections."""
        self.transport.close()

    def train(
        self,
        dataset: str | PathLike[str] | DatasetView,
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        **config: Unpack[TrainConfig],
    ) -> Job:
        """Train on a dataset of the service, or its id; or on a zip or folder, which is uploaded."""
        if not isinstance(dataset, DatasetView) and not str(dataset).startswith("ds_"):
            dataset = self.datasets.upload(dataset)
        found = dataset if isinstance(dataset, DatasetView) else str(dataset)
        return self.jobs.train(found, name=name, metadata=metadata, priority=priority, **config)

    def plan(self, dataset: str | DatasetView, **config: Unpack[TrainConfig]) -> JobPlan:
        """What a training would be, without starting it."""
        return self.jobs.plan(dataset, **config)

    def predict(self, model: str | ModelView | ModelDetailView, image: Image, **options: Any) -> Prediction:
        """What a model, by id or alias, finds on an image; see `client.models.predict`."""
        return self.models.predict(model, image, **options)

    def evaluate(
        self, model: str | ModelView | ModelDetailView, dataset: str | DatasetView, **options: Any
    ) -> Evaluation:
        """Measure a model on a dataset; see `client.evaluations.create`."""
        return self.evaluations.create(model, dataset, **options)

    def compare(self, dataset: str | DatasetView, arms: Arms, **options: Any) -> ComparisonDetail:
        """Which way of training is better; see `client.comparisons.create`."""
        return self.comparisons.create(dataset, arms, **options)

    def search(self, dataset: str | DatasetView, space: Space, **options: Any) -> SearchDetail:
        """Which values train the best detector; see `client.searches.create`."""
        return self.searches.create(dataset, space, **options)

    def me(self) -> MeView:
        """The project, scopes, quotas and usage of the key."""
        return MeView(self.transport.json("get_me"))

    def index(self) -> IndexView:
        """Name and version of the service, and where things are."""
        return IndexView(self.transport.json("index"))

    def health(self) -> HealthView:
        """Whether it answers."""
        return HealthView(self.transport.json("healthz"))

    def ready(self) -> ReadyView:
        """Whether everything it needs is there. Raises `ServiceFailed` when not."""
        return ReadyView(self.transport.json("readyz", retries=0))

    def metrics(self) -> str:
        """Numbers for Prometheus, of the whole service."""
        answer = self.transport.ask("get_metrics")
        return answer.text
