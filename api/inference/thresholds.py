"""From which score on a detection is wanted, class by class."""

import math
from collections.abc import Sequence
from typing import Literal

from api.errors import Invalid, invalid
from detector.runtime import ModelCard


def thresholds(
    card: ModelCard,
    asked: Sequence[str] | None,
    operating_point: Literal["max_f1", "precision"] | None,
    classes: Sequence[str] | None,
) -> dict[int, float]:
    """Least score by class id; a class that is not wanted has none.

    Args:
        asked: numbers, or `class:number`; by default the card's threshold.
        operating_point: takes the card's of this name instead.
        classes: names or ids of those wanted, several of them separated by commas; by default all.

    Raises `Invalid`.
    """
    known = {str(one.id): one.id for one in card.classes} | {one.name: one.id for one in card.classes}
    if operating_point is not None:
        least = _of_point(card, asked, operating_point)
    else:
        least = _as_asked(card, asked or (), known)
    if classes is not None:
        wanted = _named(classes, known)
        least = {class_id: one for class_id, one in least.items() if class_id in wanted}
    return least


def _of_point(card: ModelCard, asked: Sequence[str] | None, name: str) -> dict[int, float]:
    if asked:
        raise _invalid("score_threshold", "exclusive", "give either score_threshold or operating_point")
    point = card.operating_points.get(name)
    if point is None:
        detail = "the evaluation of this model has chosen no operating points"
        raise _invalid("operating_point", "operating_point_unavailable", detail)
    found = {one.id: point.threshold(one.id) for one in card.classes}
    return {class_id: least for class_id, least in found.items() if least is not None}


def _as_asked(card: ModelCard, asked: Sequence[str], known: dict[str, int]) -> dict[int, float]:
    default: float | None = None
    own: dict[int, float] = {}
    for text in asked:
        name, colon, number = text.rpartition(":")
        least = _number(number)
        if not colon:
            if default is not None:
                raise _invalid("score_threshold", "duplicate", "one number only can be for all classes")
            default = least
        elif name not in known:
            raise _unknown("score_threshold", name)
        elif known[name] in own:
            raise _invalid("score_threshold", "duplicate", f"the class {name[:100]!r} is given twice")
        else:
            own[known[name]] = least
    default = card.score_threshold if default is None else default
    return {one.id: own.get(one.id, default) for one in card.classes}


def _number(text: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise _invalid("score_threshold", "float_parsing", f"{text[:100]!r} is no number from 0 to 1")
    return value


def _named(asked: Sequence[str], known: dict[str, int]) -> set[int]:
    found = set()
    for text in asked:
        # A name may have a comma of its own.
        for name in [text] if text in known else text.split(","):
            if name.strip() not in known:
                raise _unknown("classes", name.strip())
            found.add(known[name.strip()])
    return found


def _unknown(where: str, name: str) -> Invalid:
    return _invalid(where, "class_unknown", f"the model has no class {name[:100]!r}")


def _invalid(where: str, code: str, detail: str) -> Invalid:
    return invalid(f"query:{where}", code, detail)
