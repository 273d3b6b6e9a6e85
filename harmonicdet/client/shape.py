"""What every answer of the service is in Python."""

import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Reader = Callable[[Any], Any]


class Shape:
    """A JSON object of the service: a typed attribute for each field, and `raw`, all of it as it came.

    A field that the service did not send is None; one that this version does not know is in `raw`, and at
    `shape["name"]`.
    """

    raw: dict[str, Any]

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = dict(raw)
        for name, read in _readers(type(self)).items():
            value = self.raw.get(name)
            setattr(self, name, value if value is None or read is None else read(value))

    def __getitem__(self, name: str) -> Any:
        return self.raw[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash((type(self), self.raw.get("id")))

    def __repr__(self) -> str:
        told = ("id", "name", "kind", "status", "step", "code")
        parts = [f"{name}={self.raw[name]!r}" for name in told if isinstance(self.raw.get(name), str | int)]
        return f"{type(self).__name__}({', '.join(parts)})"


_READERS: dict[type[Shape], dict[str, Reader | None]] = {}


def _readers(shape: type[Shape]) -> dict[str, Reader | None]:
    """What makes the value of each field out of JSON; None where JSON has it already."""
    if shape not in _READERS:
        hints = typing.get_type_hints(shape)
        _READERS[shape] = {name: _reader(hint) for name, hint in hints.items() if name != "raw"}
    return _READERS[shape]


def _reader(hint: Any) -> Reader | None:
    if hint is datetime:
        return datetime.fromisoformat
    if isinstance(hint, type) and issubclass(hint, Shape):
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # Of a union only one part is more than JSON: `Shape | None`.
        readers = [_reader(part) for part in arguments]
        return next((reader for reader in readers if reader is not None), None)
    if origin is tuple:
        return tuple
    inner = _reader(arguments[-1]) if origin in (list, dict) else None
    if inner is None:
        return None
    if origin is list:
        return lambda values: [inner(value) for value in values]
    return lambda values: {name: None if value is None else inner(value) for name, value in values.items()}
