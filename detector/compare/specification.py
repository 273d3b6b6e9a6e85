"""What is to be compared: COMPARISON.json."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detector.errors import ComparisonInvalid

_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Run(_Strict):
    """One training: where its artifacts are, or why it has none."""

    seed: int
    job: str | None = None
    folder: str | None = None
    """Relative to COMPARISON.json: a run directory of a training, or its artifacts."""
    failed: str | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.folder is None) == (self.failed is None):
            raise ValueError("a run has either a folder or a reason why it failed")
        return self


class Arm(_Strict):
    """One way of training."""

    name: _Name
    config: dict[str, Any] = {}
    """What differs from the other arms."""
    runs: list[Run] = Field(min_length=1)

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        twice = _repeated([one.seed for one in self.runs])
        if twice is not None:
            raise ValueError(f"seed {twice} is there twice in arm {self.name!r}")
        return self


class Specification(_Strict):
    """A comparison."""

    name: str = "comparison"
    dataset: str | None = None
    baseline: str
    confidence: float = Field(0.95, ge=0.5, le=0.999)
    resamples: int = Field(1000, ge=100, le=100_000)
    arms: list[Arm] = Field(min_length=2)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        twice = _repeated([one.name for one in self.arms])
        if twice is not None:
            raise ValueError(f"two arms are called {twice!r}")
        if self.baseline not in {one.name for one in self.arms}:
            raise ValueError(f"the baseline {self.baseline!r} is none of the arms")
        same = _repeated([run.folder for arm in self.arms for run in arm.runs if run.folder is not None])
        if same is not None:
            raise ValueError(f"two runs have the same folder, {same}")
        return self


def read_specification(path: Path) -> Specification:
    """Raises ComparisonInvalid, naming each field at fault."""
    try:
        return Specification.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ComparisonInvalid(f"{path.name} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()[:10])
        raise ComparisonInvalid(f"{path.name} is no comparison. {'; '.join(faults)}.") from error


def _repeated(values: list[Any]) -> Any:
    """The first that was there before, else None."""
    return next((one for k, one in enumerate(values) if one in values[:k]), None)
