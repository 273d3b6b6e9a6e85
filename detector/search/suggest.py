"""Which values to try next, by Optuna's TPE sampler: a function of what was tried, and of nothing else.

Every call makes the study anew from the trials that it is given. Trial n is drawn by a sampler with a seed of
its own, from the search's seed and n, so that whoever asks, and however often, gets the same values as long
as the trials before it are the same.

J. Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011 (TPE). S. Watanabe, A. Bansal,
F. Hutter, PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces, IJCAI 2023.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial
from pydantic import ValidationError

from detector.config import TrainConfig
from detector.errors import SearchInvalid
from detector.search.space import Choices, FloatRange, IntRange, Value, with_values
from detector.search.specification import Specification, Trial

T = TypeVar("T")
FEWEST_FOR_IMPORTANCES = 10  # complete trials: fewer say nothing about what decides
_DRAWS = 100  # for one trial
_STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    # Without a course it ranks below all others; what is FAIL is not looked at.
    "unfit": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Suggestion:
    """What to train with."""

    params: dict[str, Value]
    config: TrainConfig


def suggest(asked: Specification) -> list[Suggestion]:
    """The next `asked.count` trials, each drawn in the knowledge of those before it.

    What was tried already is drawn again only where nothing else comes up, and what makes no config never.
    Raises SearchInvalid where nothing does.
    """
    distributions = {name: _distribution(one) for name, one in asked.space.items()}
    study = _study(asked, distributions)
    base = _base(asked)
    seen = [trial.params for trial in asked.trials if trial.state != "failed"]
    found: list[Suggestion] = []
    for number in range(len(asked.trials), len(asked.trials) + asked.count):
        study.sampler = _sampler(asked.seed, number)
        found.append(_next(study, distributions, base, seen))
        seen.append(found[-1].params)
    return found


def importances(asked: Specification) -> dict[str, float] | None:
    """By parameter its share in what makes good values good, the largest first; they add up to 1.

    None with fewer than ten complete trials, and where the values do not differ.
    """
    values = {trial.value for trial in asked.trials if trial.state == "complete"}
    complete = sum(trial.state == "complete" for trial in asked.trials)
    if complete < FEWEST_FOR_IMPORTANCES or len(values) < 2:
        return None
    study = _study(asked, {name: _distribution(one) for name, one in asked.space.items()})
    found = get_param_importances(study, evaluator=_quietly(PedAnovaImportanceEvaluator))
    told = {name: round(float(share), 4) for name, share in found.items()}
    return told if all(map(math.isfinite, told.values())) else None


def _next(
    study: optuna.Study,
    distributions: dict[str, BaseDistribution],
    base: dict[str, Any],
    seen: list[dict[str, Value]],
) -> Suggestion:
    again: Suggestion | None = None
    reason = ""
    for _ in range(_DRAWS):
        trial = study.ask(fixed_distributions=distributions)
        params = {name: trial.params[name] for name in distributions}
        try:
            config = TrainConfig.model_validate(with_values(base, params))
        except ValidationError as error:
            reason = f"{params}: {error.errors()[0]['msg']}"
            study.tell(trial, state=TrialState.PRUNED)
            continue
        suggestion = Suggestion(params, config)
        if params not in seen:
            return suggestion  # and stays in the study as one that runs
        again = again or suggestion
        study.tell(trial, state=TrialState.FAIL)
    if again is None:
        raise SearchInvalid(
            f"None of {_DRAWS} draws from the space makes a config; the last, {reason}",
            hint="Narrow the space to values that go together.",
        )
    return again


def _base(asked: Specification) -> dict[str, Any]:
    """With every default, so that each object is there with its kind."""
    try:
        return TrainConfig.model_validate(asked.config).model_dump(mode="json")
    except ValidationError as error:
        raise SearchInvalid(f"The config is none: {error.errors()[0]['msg']}") from error


def _study(asked: Specification, distributions: dict[str, BaseDistribution]) -> optuna.Study:
    """All trials as they are, by their numbers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=_sampler(asked.seed, 0))
    for number, trial in enumerate(asked.trials):
        try:
            study.add_trial(_told(trial, distributions))
        except ValueError as error:
            raise SearchInvalid(f"Trial {number} is not of this space: {error}") from error
    return study


def _told(trial: Trial, distributions: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    return create_trial(
        state=_STATES[trial.state],
        params=trial.params,
        distributions=distributions,
        value=trial.value,
        # Optuna counts steps in whole numbers, and the later a trial was pruned the better it was.
        intermediate_values={round(epoch * 1000): value for epoch, value in trial.course},
    )


def _sampler(seed: int, number: int) -> TPESampler:
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return _quietly(lambda: TPESampler(seed=drawn, constant_liar=True))


def _quietly(make: Callable[[], T]) -> T:
    """What Optuna calls experimental is pinned with its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make()


def _distribution(parameter: FloatRange | IntRange | Choices) -> BaseDistribution:
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, IntRange):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
