"""The OpenAPI description as one page of HTML: no script, nothing from elsewhere."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from api.errors import MEDIA_TYPE

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
nav ul { columns: 3; font-size: 14px; } nav li { break-inside: avoid; }
h2 { border-bottom: 1px solid #ccc; margin-top: 3rem; }
h3 { margin-bottom: 0; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
b { color: #06c; } table { border-collapse: collapse; }
td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
code, pre { background: #f3f3f3; font-size: 14px; } pre { padding: .5rem; overflow-x: auto; }
summary { cursor: pointer; color: #555; }
"""
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy of the page: its own style and nothing else."""

Description = Mapping[str, Any]


def page(description: Description) -> str:
    """Every operation by tag: what it does, needs, takes and answers, with examples; then every shape."""
    title = f"{description['info']['title']} API {description['info']['version']}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=width=device-width>",
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>",
        *(f"<p>{_text(text)}</p>" for text in description["info"]["description"].split("\n\n")),
        "<p>The whole description for programs: <a href=/openapi.json>/openapi.json</a>.</p>",
        _contents(description),
    ]
    for tag in description["tags"]:
        parts.append(f"<h2 id={_anchor(tag['name'])}>{escape(tag['name'])}</h2>")
        parts.append(f"<p>{_text(tag['description'])}</p>")
        for path, method, operation in _operations(description):
            if tag["name"] in operation["tags"]:
                parts.append(_operation(method, path, operation))
    parts.append("<h2 id=shapes>shapes</h2>")
    parts += [_shape(name, schema) for name, schema in sorted(description["components"]["schemas"].items())]
    return "\n".join(parts)


def _operations(description: Description) -> Iterator[tuple[str, str, Description]]:
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _contents(description: Description) -> str:
    items = []
    for tag in description["tags"]:
        own = [
            f"<li><a href=#{operation['operationId']}>{escape(operation['summary'])}</a>"
            for _, _, operation in _operations(description)
            if tag["name"] in operation["tags"]
        ]
        items.append(f"<li><a href=#{_anchor(tag['name'])}>{escape(tag['name'])}</a><ul>{''.join(own)}</ul>")
    return f"<nav><ul>{''.join(items)}<li><a href=#shapes>shapes</a></ul></nav>"


def _operation(method: str, path: str, operation: Description) -> str:
    needs = [scope for one in operation.get("security", []) for scopes in one.values() for scope in scopes]
    rows = [
        (
            f"<code>{escape(parameter['name'])}</code>",
            parameter["in"],
            f"{_type(parameter.get('schema', {}))} {_text(parameter.get('description', ''))}",
        )
        for parameter in operation.get("parameters", [])
    ]
    bodies = [_body("body", "", operation["requestBody"])] if "requestBody" in operation else []
    answers = [
        _body(status, answer["description"], answer) for status, answer in operation["responses"].items()
    ]
    key = f" Needs a key with the scope <code>{escape(', '.join(needs))}</code>." if needs else ""
    return (
        f"<h3 id={operation['operationId']}><b>{method.upper()}</b> {escape(path)}</h3>"
        f"<p>{escape(operation['summary'])}. {_text(operation.get('description', ''))}{key}</p>"
        f"{_table(rows)}{''.join(bodies)}{''.join(answers)}"
    )


def _body(name: str, text: str, body: Description) -> str:
    """A request's or an answer's body: its media types, its shapes, its examples behind a click."""
    content = body.get("content", {})
    what = "; ".join(f"{escape(kind)} {_type(media.get('schema', {}))}" for kind, media in content.items())
    examples = [example for media in content.values() for example in _examples(media)]
    head = f"<code>{escape(name)}</code> {_text(text or body.get('description', ''))} {what}"
    if MEDIA_TYPE in content:
        codes = content[MEDIA_TYPE].get("examples", {})
        rows = [(f"<code>{escape(code)}</code>", "", _text(one["summary"])) for code, one in codes.items()]
        return f"<details><summary>{head}</summary>{_table(rows)}</details>"
    if not examples:
        return f"<p>{head}</p>"
    shown = "".join(f"<pre>{escape(_json(example))}</pre>" for example in examples)
    return f"<details><summary>{head}</summary>{shown}</details>"


def _examples(media: Description) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    return [example["value"] for example in media.get("examples", {}).values()]


def _shape(name: str, schema: Description) -> str:
    required = schema.get("required", [])
    rows = [
        (
            f"<code>{escape(field)}</code>{'' if field in required else ' ?'}",
            _type(inner),
            _text(inner.get("description", "")),
        )
        for field, inner in schema.get("properties", {}).items()
    ]
    return (
        f"<h3 id=shape-{_anchor(name)}>{escape(name)}</h3><p>{_text(schema.get('description', ''))}</p>"
        f"{_table(rows)}"
    )


def _type(schema: Description) -> str:
    """The type of a value, as a link where it is a shape of its own."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"<a href=#shape-{_anchor(name)}>{escape(name)}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(_type(one) for one in schema[several])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return f"<code>{escape(' | '.join(map(str, values)))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "")))


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = "".join(f"<tr><td>{name}<td>{place}<td>{text}" for name, place, text in rows)
    return f"<table>{cells}</table>" if rows else ""


def _text(text: str) -> str:
    """Escaped, with `code` as such."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _json(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)


def _anchor(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name)
