"""The reference of the REST API, written from its OpenAPI description."""

import json
from collections.abc import Sequence
from typing import Any

from tests.client.generate import operations as each_operation

_REST = """\
# REST API

{description}

The service has the same at `/openapi.json`, and at `/docs` to be tried.
"""


def operations(described: dict[str, Any]) -> str:
    """Every operation by its tag: parameters, body, answers, examples."""
    parts = [_REST.format(description=described["info"]["description"].strip())]
    found = list(each_operation(described))
    for tag in described["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}\n")
        parts += [
            _operation(method, path, one) for _, method, path, one in found if tag["name"] in one["tags"]
        ]
    return "\n".join(parts)


def objects(described: dict[str, Any]) -> str:
    """The fields of everything that is sent or answered."""
    parts = ["# Objects of the REST API\n"]
    for name, schema in sorted(described["components"]["schemas"].items()):
        parts.append(f"## {name} {{ #{name} }}\n\n{schema.get('description', '')}\n")
        if "properties" in schema:
            parts.append(_fields(schema, here=""))
        else:
            parts.append(f"{_kind(schema, here='')}\n")
    return "\n".join(parts)


def _operation(method: str, path: str, one: dict[str, Any]) -> str:
    parts = [f"### {one['summary']}\n", f"`{method} {path}`\n", one.get("description", ""), ""]
    if one.get("parameters"):
        rows = [
            (f"`{parameter['name']}`", parameter["in"], _kind(parameter.get("schema", {})), _said(parameter))
            for parameter in one["parameters"]
        ]
        parts += [_table(("parameter", "in", "is", ""), rows)]
    for kind, media in one.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body, `{kind}`: {_kind(media.get('schema', {}))}\n")
        parts += _examples(media)
    answers = []
    examples: list[str] = []
    for status, response in one["responses"].items():
        kinds = response.get("content", {})
        bodies = ", ".join(_kind(media.get("schema", {})) for media in kinds.values())
        answers.append((status, bodies, response.get("description", "")))
        if status.startswith("2") and not examples and "application/json" in kinds:
            examples = _examples(kinds["application/json"])
    return "\n".join([*parts, _table(("answer", "is", ""), answers), *examples])


def _fields(schema: dict[str, Any], here: str = "objects.md") -> str:
    needed = set(schema.get("required", []))
    rows = [
        (f"`{name}`" + (" (required)" if name in needed else ""), _kind(field, here), _said(field))
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "is", ""), rows)


def _kind(schema: dict[str, Any], here: str = "objects.md") -> str:
    """The type in a few words, with links to objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}]({here}#{name})"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum") or [schema["const"]])
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return " or ".join(dict.fromkeys(_kind(choice, here) for choice in choices))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}), here)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_kind(schema['additionalProperties'], here)}"
    if kind is None:
        return "anything"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _said(one: dict[str, Any]) -> str:
    """What is said about a parameter or a field, its limits and its default."""
    schema = one.get("schema", one)
    limits = [
        f"{word} {schema[name]:g}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if name in schema
    ]
    default = schema.get("default")
    told = [
        one.get("description") or schema.get("description", ""),
        f"({', '.join(limits)})" if limits else "",
        f"By default `{json.dumps(default)}`." if default is not None else "",
    ]
    return " ".join(part for part in told if part)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    text = "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
    return f"{text}\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _examples(media: dict[str, Any]) -> list[str]:
    """The first one."""
    given = [one["value"] for one in media.get("examples", {}).values() if "value" in one]
    found = [media["example"]] if "example" in media else given[:1]
    return [f"```json\n{json.dumps(one, indent=2, ensure_ascii=False)}\n```\n" for one in found]
