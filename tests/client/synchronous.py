"""Writes `harmonicdet/client/synchronous` from `asynchronous`, which is the same with `await`: `make client`.

A test fails while it is not what this would write.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tokenize_rt import Token, src_to_tokens, tokens_to_src

FOLDER = Path(__file__).parents[2] / "harmonicdet" / "client"
BY_HAND = {"__init__.py", "backend.py"}
_NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "aclose": "close",
    "aiter": "iter",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
    "asynchronous": "synchronous",
}
_PREFIX = re.compile(r"\b(_?)Async(?=[A-Z])")
_WORDS = re.compile(r"\b(await|async) ")
_NOTE = "\n# Written by `make client` from {source}.\n"


def written() -> dict[str, str]:
    """The text of each file, not formatted yet."""
    sources = sorted((FOLDER / "asynchronous").glob("*.py"))
    return {source.name: _without_await(source) for source in sources if source.name not in BY_HAND}


def _without_await(source: Path) -> str:
    text: str = tokens_to_src(_tokens(src_to_tokens(source.read_text())))
    docstring, end, rest = text.partition('"""\n')
    return docstring + end + _NOTE.format(source=f"{source.parent.name}/{source.name}") + rest


def _tokens(tokens: list[Token]) -> Iterator[Token]:
    is_space_after = False
    for token in tokens:
        if is_space_after:
            is_space_after = False
        elif token.src in ("async", "await"):
            is_space_after = True
        elif token.name == "NAME":
            yield token._replace(src=_NAMES.get(token.src) or _PREFIX.sub(r"\1", token.src))
        elif token.name in ("STRING", "FSTRING_MIDDLE", "COMMENT"):
            yield token._replace(src=_WORDS.sub("", _PREFIX.sub(r"\1", token.src)))
        else:
            yield token
