"""A model's classes in a dataset it was not trained on: the same name is the same class."""

from collections.abc import Sequence
from dataclasses import dataclass

from detector.data.records import Category
from detector.errors import ClassesDiffer
from detector.runtime import ModelClass

_SHOWN = 10


@dataclass(frozen=True)
class Matched:
    """Where the model's classes are in the dataset."""

    ids: list[int]
    """By label, the dataset's id of the class; `unknown` for one that the dataset lacks."""
    unknown: int
    """No id of the dataset."""
    warnings: list[str]
    """Sentences about the classes that only one of the two has."""


def match_classes(classes: Sequence[ModelClass], categories: Sequence[Category]) -> Matched:
    """By name, to the letter; where a dataset has a name twice, the one with the model's id, else the first.

    Raises ClassesDiffer when not one name is in both.
    """
    by_name: dict[str, list[int]] = {}
    for category in categories:
        by_name.setdefault(category.name, []).append(category.id)
    unknown = min((category.id for category in categories), default=0) - 1
    ids = [
        unknown if (same := by_name.get(one.name)) is None else one.id if one.id in same else same[0]
        for one in classes
    ]
    if all(one == unknown for one in ids):
        raise ClassesDiffer(
            "The dataset has none of the model's classes: "
            f"it has {_listed([one.name for one in categories])}, "
            f"the model {_listed([one.name for one in classes])}.",
            hint="Classes are matched by name, to the letter.",
        )
    lacking = [one.name for one, known in zip(classes, ids, strict=True) if known == unknown]
    foreign = [one.name for one in categories if one.name not in {known.name for known in classes}]
    warnings = []
    if lacking:
        warnings.append(
            f"The dataset has no class {_listed(lacking)}: what the model finds of it is left out, "
            "for there it cannot be right or wrong."
        )
    if foreign:
        warnings.append(
            f"The model does not know the class {_listed(foreign)} of the dataset: "
            "its objects count as missed."
        )
    return Matched(ids, unknown, warnings)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown or "none"
