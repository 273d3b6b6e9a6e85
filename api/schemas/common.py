"""What every resource shares: the problem object, pages, metadata, names."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from detector.strict import numbers_only


class Shape(BaseModel):
    """A body on the wire. Every field may be followed by one sentence that a user needs."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Body(Shape):
    """A body that comes in: an unknown field is an error, and so is a truth value in place of a number."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, data: object) -> object:
        # Text is let through: numbers in a query or a form are text.
        return numbers_only(data, cls.model_fields, text=False)


class ProblemError(Shape):
    """One thing wrong with a request, and where."""

    pointer: str
    """JSON Pointer into the body (`/config/epochs`), or the place and name of a parameter (`query:limit`)."""
    code: str
    """Stable name of what is wrong, such as `extra_forbidden`."""
    detail: str
    """A sentence for people."""


class Problem(Shape):
    """Every error is one of these (RFC 9457), served as `application/problem+json`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    """Always `about:blank`: `code` tells problems apart."""
    title: str
    """The meaning of the status, such as `Not Found`."""
    status: int | None
    """The HTTP status; null in a failed job, which is no answer to a request."""
    detail: str
    """A sentence that says what and where."""
    code: str
    """Stable name of the problem; programs look at this."""
    instance: str | None = None
    """The path that was asked."""
    request_id: str | None = None
    """The `X-Request-ID` of the answer, to be found in the server's log."""
    errors: list[ProblemError] = []
    """Each thing wrong with the request, where there are several."""


class JobProblem(Shape):
    """Why a job failed or a dataset is invalid."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    """Always `about:blank`: `code` tells problems apart."""
    title: str | None = None
    """What went wrong, in a few words."""
    status: int | None = None
    """Always null: this is no answer to a request."""
    code: str
    """Stable name of the problem, such as `out_of_memory`."""
    detail: str | None = None
    """A sentence that says what and where."""
    hint: str | None = None
    """What to do about it, where something can be done."""
    log_tail: str | None = None
    """The last lines of the log."""
    errors: list[ProblemError] = []
    """Each thing wrong with an uploaded file, where there are several."""


class Identified(Shape):
    """Something with an id, as every item of a page."""

    id: str


ItemT = TypeVar("ItemT", bound=Identified)
NumberedT = TypeVar("NumberedT", bound=Shape)


class ListView(Shape, Generic[ItemT]):
    """A page. Ask for the next one with `after` set to `last_id`, as long as `has_more`."""

    object: Literal["list"] = "list"
    data: list[ItemT]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""

    @classmethod
    def of(cls, items: Sequence[ItemT], *, has_more: bool) -> Self:
        ids = [str(item.id) for item in items]
        return cls(
            data=list(items),
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
            has_more=has_more,
        )


class NumberedListView(Shape, Generic[NumberedT]):
    """A page of things numbered within their owner, in rising order; the next one starts after `last_id`."""

    object: Literal["list"] = "list"
    data: list[NumberedT]
    first_id: int | None
    """Number of the first item; null when the page is empty."""
    last_id: int | None
    """Number of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


def printable(value: str) -> str:
    """Refuse control characters: a database refuses NUL, and a log would break on a newline."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("control characters are not allowed")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
MetadataName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(printable)]
MetadataValue = Annotated[str, Field(max_length=500), AfterValidator(printable)]
MOST_METADATA = 50
Metadata = Annotated[dict[MetadataName, MetadataValue], Field(max_length=MOST_METADATA)]
MetadataPatch = Annotated[dict[MetadataName, MetadataValue | None], Field(max_length=2 * MOST_METADATA)]
Example = dict[str, Any]
