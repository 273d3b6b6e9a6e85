"""Numbers that are numbers: pydantic would also take `true` for 1 and `"3"` for 3."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo


class NoNumber:
    """Stands in for what only looks like a number, so that pydantic refuses it in its place."""


def numbers_only(data: object, fields: Mapping[str, FieldInfo], *, text: bool) -> object:
    """The input of a model; a truth value, or with `text` a string, where only numbers are meant is refused.

    For a validator in mode "before" of the model: one of each field may not stand on a discriminator.
    """
    if not isinstance(data, Mapping):
        return data
    return {
        name: _checked(value, fields[name].annotation, text=text) if name in fields else value
        for name, value in data.items()
    }


def _checked(value: object, annotation: Any, *, text: bool) -> object:
    kinds = set(_leaves(annotation))
    if not kinds & {int, float}:
        return value
    lookalikes = tuple(kind for kind in (bool, str) if kind not in kinds and (text or kind is bool))
    if isinstance(value, list):
        return [NoNumber() if isinstance(one, lookalikes) else one for one in value]
    return NoNumber() if isinstance(value, lookalikes) else value


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types that a value of this one may have, or its elements."""
    if get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif get_origin(annotation) is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif get_args(annotation):
        for inner in get_args(annotation):
            yield from _leaves(inner)
    else:
        yield annotation
