"""The report of a comparison as one HTML page, with figures, that needs nothing else and no network."""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from detector.compare.report import Section, Table, answers, sections


def page(result: Mapping[str, Any], script_url: str | None = None) -> str:
    """The page. It is readable without scripts; figures then are missing.

    Args:
        result: `comparison.json`.
        script_url: where plotly.min.js is to be had; without it, its 5 MB are in the page.

    The page says its own Content-Security-Policy: nothing is loaded but `script_url`, and no script runs but
    the two that are named there. There are no event handlers in the markup.
    """
    own = _file("page.js")
    charts = "" if script_url is not None else _plotly()
    tag = f'<script src="{escape(script_url)}"></script>' if script_url else f"<script>{charts}</script>"
    sources = [escape(script_url) if script_url else _source(charts), _source(own)]
    policy = (
        f"default-src 'none'; script-src {' '.join(sources)}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{escape(result['name'])}</title>\n<style>\n{_file('page.css')}</style>\n</head>\n",
            f"<body>\n<main>\n{_top(result)}",
            *(_section(one) for one in sections(result)),
            "</main>\n",
            f'<script type="application/json" id="figures">{_json(result["figures"])}</script>\n',
            f"{tag}\n<script>{own}</script>\n</body>\n</html>\n",
        ]
    )


def _top(result: Mapping[str, Any]) -> str:
    about = [f"{len(result['arms'])} arms", f"seeds {', '.join(map(str, result['seeds'])) or 'none'}"]
    about += [f"{result['images']} images"]
    if result["dataset"]:
        about.append(f"dataset {result['dataset']}")
    said = "".join(
        f'<div class="answer {escape(verdict)}"><span class="verdict">{escape(verdict)}</span>'
        f"<p>{escape(sentence)}</p></div>\n"
        for _, verdict, sentence in answers(result)
    )
    caveats = "".join(f"<li>{escape(one)}</li>\n" for one in result["warnings"])
    return f'<h1>{escape(result["name"])}</h1>\n<p class="about">{escape(" · ".join(about))}</p>\n{said}' + (
        f'<ul class="caveats">\n{caveats}</ul>\n' if caveats else ""
    )


def _section(one: Section) -> str:
    parts = [f"<section>\n<h2>{escape(one.heading)}</h2>\n"]
    parts += [f"<p>{escape(words)}</p>\n" for words in one.words]
    parts += [_table(table) for table in one.tables]
    if one.figure is not None:
        words = " ".join(one.after)
        caption = f"<figcaption>{escape(words)}</figcaption>" if words else ""
        parts.append(
            f'<figure aria-label="{escape(one.heading)}">'
            f'<div class="chart" data-figure="{escape(one.figure)}"></div>{caption}</figure>\n'
        )
    return "".join([*parts, "</section>\n"])


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows)
    whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    return f'<div class="wide">{whole}</div>\n'


def _json(value: Any) -> str:
    """For a script element: nothing in it may end the element, or begin a comment."""
    return json.dumps(value, allow_nan=False, ensure_ascii=True).replace("<", "\\u003c")


def _source(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _file(name: str) -> str:
    return files("detector.compare").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """plotly.min.js of the installed package."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
