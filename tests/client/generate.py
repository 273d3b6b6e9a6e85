"""Writes `harmonicdet/client/shapes.py` and `operations.py` from the OpenAPI description, and `synchronous`
from `asynchronous`: `make client`.

A test fails while they are not what this would write.
"""

import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api import openapi
from api.app import create_app
from api.settings import Settings
from tests.client import synchronous

FOLDER = Path(__file__).parents[2] / "harmonicdet" / "client"
_WIDTH = 104
_LONG_UNION = 60
_PRIMITIVES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
# Contents of files, which are downloaded.
_FILES = {"ModelFile", "DetectionsFile", "GroundTruthFile"}
_HEADER = '"""{what}, from the OpenAPI description. Written by `make client`."""\n\n{imports}\n'


def description() -> dict[str, Any]:
    """The OpenAPI description; needs no database."""
    with tempfile.TemporaryDirectory() as folder:
        return openapi.describe(create_app(Settings(data=Path(folder))))


def written(described: dict[str, Any]) -> dict[str, str]:
    """The text of each file."""
    writer = _Writer(described["components"]["schemas"])
    for name in sorted(_answered(described)):
        writer.need(name, typed_dict=False)
    for name in ("TrainConfig", "FloatRange", "IntRange", "Choices", "MedianPruning"):
        writer.need(name, typed_dict=True)
    # Aliases first: a class needs them when its hints are read.
    parts = [*writer.literals.values(), *writer.classes.values(), *writer.aliases.values()]
    imports = (
        "# ruff: noqa: N815\n\nfrom __future__ import annotations\n\nfrom datetime import datetime\n"
        "from typing import Any, Literal, TypedDict\n\nfrom harmonicdet.client.shape import Shape\n"
    )
    head = _HEADER.format(what="What the service says, and what it may be told", imports=imports)
    texts = {"shapes.py": head + "\n".join(parts), "operations.py": _operations(described)}
    texts |= {f"synchronous/{name}": text for name, text in synchronous.written().items()}
    return {name: _formatted(text, FOLDER / name) for name, text in texts.items()}


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(operationId, method, path, operation) of each."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield operation["operationId"], method.upper(), path, operation


def _answered(described: dict[str, Any]) -> set[str]:
    """Names of the schemas that answers are made of, the problem included."""
    found = {"Problem"}
    for _, _, _, operation in operations(described):
        for status, response in operation["responses"].items():
            schema = response.get("content", {}).get("application/json", {}).get("schema", {})
            if status.startswith("2"):
                parts = (schema, *schema.get("anyOf", []))
                found |= {_name(part["$ref"]) for part in parts if "$ref" in part}
    return found - _FILES


def _operations(described: dict[str, Any]) -> str:
    lines = []
    for name, method, path, operation in operations(described):
        parameters = operation.get("parameters", [])
        query = tuple(one["name"] for one in parameters if one["in"] == "query")
        once = any(one["name"] == "Idempotency-Key" for one in parameters)
        lines.append(f'    "{name}": Operation("{method}", "{path}", {query!r}, {once}),')
    imports = "from typing import NamedTuple\n"
    return (
        _HEADER.format(what="What can be asked of the service", imports=imports)
        + '\n\nclass Operation(NamedTuple):\n    """One way to ask."""\n\n'
        + "    method: str\n    path: str\n"
        + '    query: tuple[str, ...]\n    """Names of the parameters in the query."""\n'
        + '    once: bool\n    """Whether an Idempotency-Key makes it harmless to ask again."""\n'
        + "\n\nOPERATIONS = {\n"
        + "\n".join(lines)
        + "\n}\n"
    )


class _Writer:
    """Collects the text of schemas, and of what they refer to, each once."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas
        self._begun: set[str] = set()
        self.literals: dict[str, str] = {}
        self.classes: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def need(self, schema: str, *, typed_dict: bool) -> str:
        """The schema's name in Python."""
        name = _python_name(schema)
        if schema in self._begun:
            return name
        self._begun.add(schema)
        described = self._schemas[schema]
        if "enum" in described:
            self.literals[name] = f"{name} = {_literal(described['enum'])}\n"
            return name
        lines = [f"class {name}({'TypedDict, total=False' if typed_dict else 'Shape'}):"]
        lines.append(_documented(described.get("description", "")))
        for field, value in described["properties"].items():
            lines.append(f"    {field}: {self._type(value, name + _camel(field), typed_dict)}")
            if "description" in value:
                lines.append(_documented(value["description"]))
        self.classes[name] = "\n" + "\n".join(lines) + "\n"
        return name

    def _type(self, schema: dict[str, Any], alias: str, typed_dict: bool) -> str:
        if "$ref" in schema:
            return self.need(_name(schema["$ref"]), typed_dict=typed_dict)
        if "const" in schema or "enum" in schema:
            return self._choice(_literal(schema.get("enum") or [schema["const"]]), schema.get("title", ""))
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            parts = [
                self._type(part, alias, typed_dict)
                for choice in choices
                for part in choice.get("oneOf", [choice])
            ]
            union = " | ".join(dict.fromkeys(parts))
            if len(union) < _LONG_UNION:
                return union
            self.aliases[alias] = f"{alias} = {union}\n"
            return alias
        kind = schema.get("type")
        if kind == "array":
            if "prefixItems" in schema:
                parts = [self._type(one, alias, typed_dict) for one in schema["prefixItems"]]
                return f"tuple[{', '.join(parts)}]"
            return f"list[{self._type(schema['items'], alias, typed_dict)}]"
        if kind == "object":
            inner = schema.get("additionalProperties")
            return f"dict[str, {self._type(inner, alias, typed_dict) if isinstance(inner, dict) else 'Any'}]"
        if kind == "string" and schema.get("format") == "date-time":
            return "datetime"
        return _PRIMITIVES[kind] if kind else "Any"

    def _choice(self, literal: str, title: str) -> str:
        """A long one is written once, under its title."""
        name = title.replace(" ", "")
        if len(literal) < _LONG_UNION or not name:
            return literal
        text = f"{name} = {literal}\n"
        return name if self.literals.setdefault(name, text) == text else literal


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _python_name(schema: str) -> str:
    """Two modules may have a shape of the same name: `api__schemas__evaluations__MaskView`."""
    *_, module, name = ["", *schema.split("__")]
    return _camel(module) + name


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.split("_"))


def _literal(values: list[Any]) -> str:
    return f"Literal[{', '.join(repr(value) for value in values)}]"


def _documented(text: str) -> str:
    whole = " ".join(text.split())
    if len(whole) < _WIDTH - 6:
        return f'    """{whole}"""'
    lines = textwrap.wrap(whole, _WIDTH - 6)
    return textwrap.indent('"""' + "\n".join(lines) + '"""' * (len(lines[-1]) > 0), "    ")


def _formatted(text: str, path: Path) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--fix", "--exit-zero", "--quiet"], ["format"]):
        done = subprocess.run(
            [ruff, *command, "--stdin-filename", path, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


if __name__ == "__main__":
    for file, text in written(description()).items():
        (FOLDER / file).write_text(text)
