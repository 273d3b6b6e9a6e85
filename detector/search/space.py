"""What a search may change in a config: parameters by their dotted names, each with what it may be.

Pydantic only; imports without torch and without Optuna.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from detector.strict import numbers_only

MOST_PARAMETERS = 20
_LARGEST = 10**9
_LONGEST = 100  # characters of a name


def _value(value: object) -> object:
    if isinstance(value, str) and len(value) <= _LONGEST:
        return value
    if value is None or (isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST):
        return value
    raise PydanticCustomError("value_type", "must be a name, a number, a truth value or null")


# One check for all kinds, so that what is none of them is told once, in its place.
Value = Annotated[
    str | bool | int | float | None,
    PlainValidator(_value, json_schema_input_type=str | bool | int | float | None),
]


class _Range(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, data: object) -> object:
        return numbers_only(data, cls.model_fields, text=True)


class FloatRange(_Range):
    """Any number between two."""

    kind: Literal["float"] = "float"
    low: float = Field(ge=-_LARGEST, le=_LARGEST)
    """The smallest value."""
    high: float = Field(ge=-_LARGEST, le=_LARGEST)
    """The largest value."""
    log: bool = False
    """Whether every order of magnitude is as likely as another; right for learning rates."""

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        _require_range(self.low, self.high, self.log)
        return self

    def ends(self) -> dict[str, Value]:
        """By where each is said."""
        return {"low": self.low, "high": self.high}


class IntRange(_Range):
    """A whole number between two, both included."""

    kind: Literal["int"] = "int"
    low: int = Field(ge=-_LARGEST, le=_LARGEST)
    """The smallest value."""
    high: int = Field(ge=-_LARGEST, le=_LARGEST)
    """The largest value; a whole number of steps above the smallest."""
    step: int = Field(1, ge=1, le=_LARGEST)
    """Distance between neighbouring values."""
    log: bool = False
    """Whether every order of magnitude is as likely as another; not with a step."""

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        _require_range(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError("log and step do not go together")
        if (self.high - self.low) % self.step:
            raise ValueError(f"high must be low and a multiple of step, {self.step}")
        return self

    def ends(self) -> dict[str, Value]:
        """By where each is said."""
        return {"low": self.low, "high": self.high}


def _differing(choices: list[Value]) -> list[Value]:
    # 1, 1.0 and true are one value to Python and to the sampler.
    if len(set(choices)) < len(choices):
        raise ValueError("every choice may be there once")
    return choices


class Choices(BaseModel):
    """One of some values, in no order."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    kind: Literal["categorical"] = "categorical"
    choices: Annotated[list[Value], AfterValidator(_differing)] = Field(min_length=2, max_length=50)
    """The values: names, numbers, truth values or null."""

    def ends(self) -> dict[str, Value]:
        """By where each is said: all of them."""
        return {f"choices/{place}": value for place, value in enumerate(self.choices)}


Parameter = Annotated[FloatRange | IntRange | Choices, Field(discriminator="kind")]
Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]


def _apart(space: dict[str, Any]) -> dict[str, Any]:
    for name in space:
        parts = name.split(".")
        over = next((".".join(parts[:k]) for k in range(1, len(parts)) if ".".join(parts[:k]) in space), None)
        if over is not None:
            raise ValueError(f"{name} is a part of {over}: one of them decides the other")
    return space


def _object(value: object) -> object:
    """Refuse a space with more parameters than any search can tell apart, before each is looked at."""
    if isinstance(value, dict) and len(value) > MOST_PARAMETERS:
        raise ValueError(f"a search may change {MOST_PARAMETERS} parameters at most")
    return value


Space = Annotated[
    dict[Name, Parameter],
    Field(min_length=1, max_length=MOST_PARAMETERS),
    BeforeValidator(_object),
    AfterValidator(_apart),
]


def with_values(config: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """The config with `values` in it: `{"optimizer.lr": 0.01}` sets `lr` in the object `optimizer`.

    The name of a choice such as `{"loss": "harmonic"}` leaves an object of this kind as it is, and replaces
    one of another kind, whose options are none of its own.
    """
    found = dict(config)
    for name, value in values.items():
        *over, last = name.split(".")
        inner = found
        for part in over:
            before = inner.get(part)
            if isinstance(before, str):
                before = {"kind": before}
            inner[part] = dict(before) if isinstance(before, Mapping) else {}
            inner = inner[part]
        before = inner.get(last)
        is_of_kind = isinstance(before, Mapping) and isinstance(value, str) and before.get("kind") == value
        if not is_of_kind:
            inner[last] = value
    return found


def size(space: Mapping[str, FloatRange | IntRange | Choices]) -> int | None:
    """How many combinations there are; None for no end."""
    sizes = list(_sizes(space))
    if None in sizes:
        return None
    product = 1
    for one in sizes:
        product *= one or 1
    return product


def _sizes(space: Mapping[str, FloatRange | IntRange | Choices]) -> Iterator[int | None]:
    for parameter in space.values():
        if isinstance(parameter, Choices):
            yield len(parameter.choices)
        elif isinstance(parameter, IntRange):
            yield (parameter.high - parameter.low) // parameter.step + 1
        else:
            yield None


def _require_range(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low {low:g} must be below high {high:g}")
    if log and low <= 0:
        raise ValueError("a range in orders of magnitude (log) must be above 0")
