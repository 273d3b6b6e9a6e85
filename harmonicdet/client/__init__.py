"""The Python client: `from harmonicdet import Client, AsyncClient`. It imports nothing of the service."""

from harmonicdet.client.asynchronous.client import AsyncClient
from harmonicdet.client.asynchronous.comparisons import AsyncComparison, AsyncComparisonDetail
from harmonicdet.client.asynchronous.datasets import AsyncDataset
from harmonicdet.client.asynchronous.evaluations import AsyncEvaluation, AsyncEvaluationDetail
from harmonicdet.client.asynchronous.jobs import AsyncJob
from harmonicdet.client.asynchronous.models import AsyncModel, AsyncModelDetail
from harmonicdet.client.asynchronous.predictions import AsyncPrediction
from harmonicdet.client.asynchronous.searches import AsyncSearch, AsyncSearchDetail
from harmonicdet.client.errors import (
    AuthenticationFailed,
    ComparisonFailed,
    Conflict,
    ConnectionFailed,
    DatasetInvalid,
    DownloadCorrupt,
    EvaluationFailed,
    HarmonicDetError,
    Invalid,
    JobFailed,
    MissingPackage,
    NotFound,
    PermissionMissing,
    RateLimited,
    SearchFailed,
    ServiceFailed,
    StatusError,
    TooLarge,
    WaitTimedOut,
)
from harmonicdet.client.synchronous.client import Client
from harmonicdet.client.synchronous.comparisons import Comparison, ComparisonDetail
from harmonicdet.client.synchronous.datasets import Dataset
from harmonicdet.client.synchronous.evaluations import Evaluation, EvaluationDetail
from harmonicdet.client.synchronous.jobs import Job
from harmonicdet.client.synchronous.models import Model, ModelDetail
from harmonicdet.client.synchronous.predictions import Prediction
from harmonicdet.client.synchronous.searches import Search, SearchDetail

__all__ = [
    "AsyncClient",
    "AsyncComparison",
    "AsyncComparisonDetail",
    "AsyncDataset",
    "AsyncEvaluation",
    "AsyncEvaluationDetail",
    "AsyncJob",
    "AsyncModel",
    "AsyncModelDetail",
    "AsyncPrediction",
    "AsyncSearch",
    "AsyncSearchDetail",
    "AuthenticationFailed",
    "Client",
    "Comparison",
    "ComparisonDetail",
    "ComparisonFailed",
    "Conflict",
    "ConnectionFailed",
    "Dataset",
    "DatasetInvalid",
    "DownloadCorrupt",
    "Evaluation",
    "EvaluationDetail",
    "EvaluationFailed",
    "HarmonicDetError",
    "Invalid",
    "Job",
    "JobFailed",
    "MissingPackage",
    "Model",
    "ModelDetail",
    "NotFound",
    "PermissionMissing",
    "Prediction",
    "RateLimited",
    "Search",
    "SearchDetail",
    "SearchFailed",
    "ServiceFailed",
    "StatusError",
    "TooLarge",
    "WaitTimedOut",
]
