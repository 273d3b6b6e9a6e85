"""What a worker reads from the environment, beside the settings of the store."""

import sys
from typing import Literal

from pydantic import Field

from store.settings import StoreSettings

Queue = Literal["train", "evaluate", "ingest"]


class WorkerSettings(StoreSettings):
    """`HARMONICDET_*`; times are seconds."""

    detector_command: list[str] = Field([sys.executable, "-m", "detector"], min_length=1)
    """How the detector is started, as a JSON list: the place for a wrapper such as `nice`."""
    poll_seconds: float = Field(0.1, gt=0.0)
    """How often a supervisor looks at its child process."""
    apply_seconds: float = Field(0.5, ge=0.0)
    """Shortest time between two transactions that turn events into rows."""
    cancel_grace_seconds: float = Field(0.3, ge=0.0)
    """How long a cancelled child may take to end before its process group is killed."""
    shutdown_grace_seconds: float = Field(10.0, ge=0.0)
    """How long a child may take to write its checkpoint when the worker is told to stop."""
    pause_grace_seconds: float = Field(60.0, ge=0.0)
    """How long a child may take to write its checkpoint when the user pauses its job."""
    stall_seconds: float = Field(900.0, gt=0.0)
    """A child that has written neither event nor log for this long is taken for hung and killed."""
    progress_seconds: float = Field(3600.0, gt=0.0)
    """A training without a new step for this long is taken for hung, unless its job sets a limit itself."""
    mlflow_tracking_uri: str | None = Field(None, repr=False)
    """Where MLflow is told of trainings that have succeeded, such as `http://mlflow:5000`; by default not."""
    mlflow_experiment: str = Field("harmonicdet", min_length=1)
    """The experiment of MLflow to which they belong."""
    mlflow_seconds: float = Field(60.0, gt=0.0)
    """How long MLflow may take."""
    cache_bytes: int = Field(50 << 30, ge=0)
    """How much the unpacked datasets of this host may take; the ones used longest ago go first."""
