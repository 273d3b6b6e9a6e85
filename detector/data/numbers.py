"""Numbers in text, by a strict grammar: Python's own `float` takes `1_0`, Arabic digits and more."""

import re

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_WORD = re.compile(r"[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_LONGEST = 60


def number(text: str, *, words: bool = False) -> float | None:
    """The decimal number that `text` is, perhaps infinite for being too large; None when it is none.

    With `words`, `nan` and `inf` count as numbers, so that a box that has them is found by what it is.
    """
    if len(text) <= _LONGEST and (_NUMBER.fullmatch(text) or (words and _WORD.fullmatch(text))):
        return float(text)
    return None
