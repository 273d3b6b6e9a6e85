"""The Python client: `from harmonicdet import Client`. It imports nothing of the service."""

from harmonicdet.client.client import Client
from harmonicdet.client.comparisons import Comparison, ComparisonDetail
from harmonicdet.client.datasets import Dataset
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
from harmonicdet.client.evaluations import Evaluation, EvaluationDetail
from harmonicdet.client.jobs import Job
from harmonicdet.client.models import Model, ModelDetail
from harmonicdet.client.predictions import Prediction
from harmonicdet.client.searches import Search, SearchDetail

__all__ = [
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
