"""Who measures: our own evaluator, or pycocotools. The numbers are the same to the last bit."""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from detector.evaluate import evaluation, reference
from detector.evaluate.evaluation import AREAS, Comparison, Evaluation, Ranges

Evaluator: TypeAlias = Literal["harmonicdet", "pycocotools"]
EVALUATORS: tuple[Evaluator, ...] = get_args(Evaluator)
DEFAULT: Evaluator = "harmonicdet"

_EVALUATE: Mapping[str, Callable[[Comparison, Ranges], Evaluation]] = MappingProxyType(
    {"harmonicdet": evaluation.evaluate, "pycocotools": reference.evaluate}
)


def evaluate(comparison: Comparison, ranges: Ranges = AREAS, evaluator: Evaluator = DEFAULT) -> Evaluation:
    """Matches and accumulates."""
    return _EVALUATE[evaluator](comparison, ranges)


def provenance(evaluator: Evaluator = DEFAULT) -> dict[str, str | None]:
    """For the record: the package that measures, and its version, null where it was not installed as one."""
    try:
        return {"name": evaluator, "version": version(evaluator)}
    except PackageNotFoundError:
        return {"name": evaluator, "version": None}
