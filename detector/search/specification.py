"""What a search has tried, and what is asked of it next: SEARCH.json."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detector.errors import SearchInvalid
from detector.search.space import Space, Value

MOST_TRIALS = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Trial(_Strict):
    """A training that was begun with these values, and what has become of it."""

    params: dict[str, Value]
    state: Literal["running", "complete", "pruned", "unfit", "failed"]
    """`unfit`: it failed by its values, such as a learning rate too high; `failed`: for another reason."""
    value: float | None = None
    """Of a complete one: the metric, larger is better."""
    course: list[tuple[float, float]] = []
    """Of a pruned one: (epoch, metric), by epoch."""

    @model_validator(mode="after")
    def _complete_has_value(self) -> Self:
        if (self.state == "complete") != (self.value is not None):
            raise ValueError("a trial has a value when it is complete")
        return self


class Specification(_Strict):
    """A search."""

    space: Space
    config: dict[str, Any] = {}
    """Of all trials: what the space does not name."""
    seed: int = Field(0, ge=0, lt=2**32)
    count: int = Field(1, ge=0, le=100)
    """How many further trials are asked for."""
    trials: list[Trial] = Field([], max_length=MOST_TRIALS)
    """In the order in which they were made."""

    @model_validator(mode="after")
    def _trials_are_of_the_space(self) -> Self:
        for number, trial in enumerate(self.trials):
            if trial.params.keys() != self.space.keys():
                raise ValueError(f"trial {number} has other parameters than the space")
        return self


def read_specification(path: Path) -> Specification:
    """Raises SearchInvalid, naming each field at fault."""
    try:
        return Specification.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SearchInvalid(f"{path.name} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors()[:10])
        raise SearchInvalid(f"{path.name} is no search. {'; '.join(faults)}.") from error
