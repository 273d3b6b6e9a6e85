"""What is given to a method, on its way into a request."""

from typing import Any

from harmonicdet.client.shape import Shape


def id_of(thing: str | Shape) -> str:
    """Its id, if it is not one already."""
    return thing if isinstance(thing, str) else str(thing.raw["id"])


def given(**values: Any) -> dict[str, Any]:
    """What was given: None means left out."""
    return {name: value for name, value in values.items() if value is not None}
