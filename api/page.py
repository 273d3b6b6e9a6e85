"""The OpenAPI description as one page of HTML without scripts."""

from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; }
h3 { margin-bottom: 0; font-family: ui-monospace, monospace; }
b { color: #06c; } table { border-collapse: collapse; } td { padding: 0 1rem 0 0; vertical-align: top; }
code { background: #f3f3f3; }
"""


def page(description: dict[str, Any]) -> str:
    """Every operation by tag: its path, what it does, its parameters, its answers."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(description['info']['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(description['info']['title'])} API {escape(description['info']['version'])}</h1>",
        *(f"<p>{escape(text)}</p>" for text in description["info"]["description"].split("\n\n")),
        "<p>The whole description for programs: <a href=/openapi.json>/openapi.json</a>.</p>",
    ]
    for tag in description["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>")
        for path, operations in description["paths"].items():
            parts += [
                _operation(method, path, operation)
                for method, operation in operations.items()
                if tag["name"] in operation["tags"]
            ]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (parameter["name"], parameter["in"], parameter.get("description", ""))
        for parameter in operation.get("parameters", [])
    ]
    if "requestBody" in operation:
        rows.append(("body", "", ", ".join(operation["requestBody"]["content"])))
    rows += [(status, "answer", answer["description"]) for status, answer in operation["responses"].items()]
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(place)}<td>{escape(text)}"
        for name, place, text in rows
    )
    return (
        f"<h3><b>{method.upper()}</b> {escape(path)}</h3>"
        f"<p>{escape(operation.get('description') or operation['summary'])}</p><table>{cells}</table>"
    )
