"""The report of a comparison as Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from detector.compare.report import Table, answers, sections


def markdown(result: Mapping[str, Any]) -> str:
    """Everything but the figures, which are in `comparison.html`."""
    lines = [f"# {escaped(result['name'])}", ""]
    for _, _, sentence in answers(result):
        lines += [f"**{escaped(sentence)}**", ""]
    if result["warnings"]:
        lines += [*(f"- {escaped(one)}" for one in result["warnings"]), ""]
    for section in sections(result):
        if not section.words and not section.tables:
            continue
        lines += [f"## {section.heading}", ""]
        for paragraph in section.words:
            lines += [escaped(paragraph), ""]
        for table in section.tables:
            lines += [*_table(table), ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """A name that somebody gave must not become markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def _table(table: Table) -> Sequence[str]:
    rule = [":--", *("--:" for _ in table.head[1:])]
    return [_row(table.head), _row(rule, raw=True), *(_row(row) for row in table.rows)]


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else escaped(cell) for cell in cells) + " |"
