"""`python -m detector suggest`: a function of what was tried, better than chance, always a whole config."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from detector.__main__ import main
from detector.config import SGD, TrainConfig
from detector.errors import SearchInvalid
from detector.events import ErrorEvent, EventReader
from detector.search.specification import Specification
from detector.search.suggest import importances, suggest

SPACE: dict[str, Any] = {
    "optimizer.lr": {"kind": "float", "low": 1e-5, "high": 10.0, "log": True},
    "optimizer.momentum": {"kind": "float", "low": 0.0, "high": 0.95},
    "batch_size": {"kind": "int", "low": 2, "high": 16, "step": 2},
}
LOSSES = {"loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]}}


def search(trials: list[dict[str, Any]], **changes: Any) -> Specification:
    return Specification.model_validate({"space": SPACE, "seed": 1, "trials": trials} | changes)


def quality(params: dict[str, Any]) -> float:
    """Best at a learning rate of 0.01; the rest hardly matters."""
    rate, momentum = float(params["optimizer.lr"]), float(params["optimizer.momentum"])
    return 1.0 - abs(math.log10(rate) + 2.0) / 5.0 - 0.001 * momentum


def searched(trials: int, **changes: Any) -> list[dict[str, Any]]:
    """One after the other, as one that is asked anew each time."""
    found: list[dict[str, Any]] = []
    for _ in range(trials):
        (one,) = suggest(search(found, **changes))
        found.append({"params": one.params, "state": "complete", "value": quality(one.params)})
    return found


def test_what_comes_next_is_a_function_of_what_was_tried() -> None:
    trials = searched(14)
    assert searched(14) == trials
    for before in (3, 13):  # drawn at random, and by what is known
        assert suggest(search(trials[:before]))[0].params == trials[before]["params"]
        assert suggest(search(trials[:before], seed=2))[0].params != trials[before]["params"]
    worst = min(trials[:13], key=lambda trial: trial["value"])
    otherwise = [trial | {"value": 5.0} if trial is worst else trial for trial in trials[:13]]
    assert suggest(search(otherwise))[0].params != trials[13]["params"]


def test_it_draws_where_values_were_good() -> None:
    trials = searched(30)
    rates = [abs(math.log10(trial["params"]["optimizer.lr"]) + 2.0) for trial in trials]
    assert sum(rates[20:]) / 10 < 0.6 * sum(rates[:10]) / 10
    shares = importances(search(trials))
    assert shares is not None
    assert next(iter(shares)) == "optimizer.lr"
    assert shares["optimizer.lr"] > 0.6
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-3)


def test_importances_need_trials_that_differ() -> None:
    trials = searched(10)
    assert importances(search(trials)) is not None
    assert importances(search(trials[:9])) is None
    assert importances(search([trial | {"value": 0.0} for trial in trials])) is None
    assert importances(search([*trials[:9], {"params": trials[9]["params"], "state": "failed"}])) is None


def lost(state: str, seed: int) -> int:
    """How many of 15 informed trials are too fast to learn, where that is just above the best there is."""
    trials: list[dict[str, Any]] = []
    for _ in range(25):
        (one,) = suggest(search(trials, seed=seed))
        rate = float(str(one.params["optimizer.lr"]))
        value = 1.0 - abs(math.log10(rate) + 1.3) / 5.0
        ended = {"state": state} if rate > 0.1 else {"state": "complete", "value": value}
        trials.append({"params": one.params} | ended)
    return sum(trial["state"] == state for trial in trials[10:])


def test_values_that_no_training_survives_are_avoided() -> None:
    unfit, failed = (sum(lost(state, seed) for seed in range(3)) for state in ("unfit", "failed"))
    assert unfit < 0.75 * failed, "a trial that failed for another reason says nothing"


def test_trials_that_run_and_those_pruned_count_too() -> None:
    trials = searched(12)
    course = {"state": "pruned", "value": None, "course": [[1.0, 0.1], [2.0, 0.2]]}
    some = [*trials[:10], trials[10] | course, {"params": trials[11]["params"], "state": "running"}]
    several = suggest(search(some, count=3))
    assert len({json.dumps(one.params) for one in several}) == 3, "each knows of those before it"
    assert several[0].params != suggest(search(trials[:11]))[0].params


def test_a_trial_is_a_whole_config_and_never_one_that_is_none() -> None:
    # A step of accumulation above what the batch has is refused by the config, and drawn anew.
    space = {
        "batch_size": {"kind": "int", "low": 2, "high": 7},
        "gradient_accumulation": {"kind": "int", "low": 1, "high": 7},
    }
    config = {"epochs": 4, "optimizer": {"kind": "sgd", "momentum": 0.5}}
    for one in suggest(search([], space=space, config=config, count=10)):
        assert one.config.batch_size % one.config.gradient_accumulation == 0
        assert one.config == TrainConfig(epochs=4, optimizer=SGD(momentum=0.5), **one.params)


def test_what_makes_no_config_at_all_is_refused() -> None:
    space = {"loss.gamma": {"kind": "float", "low": 2.0, "high": 3.0}}
    with pytest.raises(SearchInvalid, match="None of 100 draws"):
        suggest(search([], space=space))
    with pytest.raises(SearchInvalid, match="The config is none"):
        suggest(search([], space=LOSSES, config={"epochs": 0}))


def test_nothing_is_tried_twice_while_there_is_something_else() -> None:
    found = suggest(search([], space=LOSSES, count=3))
    assert {one.params["loss"] for one in found[:2]} == {"harmonic", "baseline"}
    assert found[2].params["loss"] in ("harmonic", "baseline")
    lost = {"params": {"loss": "harmonic"}, "state": "failed"}
    running = {"params": {"loss": "baseline"}, "state": "running"}
    (again,) = suggest(search([lost, running], space=LOSSES))
    assert again.params == {"loss": "harmonic"}, "what was lost for another reason is worth another trial"


@pytest.mark.parametrize(
    ("trial", "why"),
    [
        ({"params": {"loss": "harmonic"}, "state": "complete"}, "has a value when it is complete"),
        ({"params": {"loss": "harmonic"}, "state": "failed", "value": 1.0}, "has a value when it is"),
        ({"params": {"gamma": 1}, "state": "failed"}, "other parameters"),
        ({"params": {"loss": "other"}, "state": "failed"}, "is not of this space"),
    ],
)
def test_trials_that_cannot_be_of_it_are_refused(trial: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "SEARCH.json"
    path.write_text(json.dumps({"space": LOSSES, "trials": [trial]}))
    assert main(["suggest", "--search", str(path), "--run", str(tmp_path / "run")]) == 1
    (error,) = [event for event in EventReader(tmp_path / "run").read() if isinstance(event, ErrorEvent)]
    assert error.code == "search_invalid"
    assert why in error.message
    assert not (tmp_path / "run/result.json").exists()


def test_a_look_at_a_search_is_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "SEARCH.json"
    path.write_text(search(searched(10), count=2).model_dump_json())
    assert main(["suggest", "--search", str(path), "--run", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run/result.json").read_bytes())
    assert result == json.loads(capsys.readouterr().out)
    assert [trial["config"]["batch_size"] for trial in result["trials"]] == [
        trial["params"]["batch_size"] for trial in result["trials"]
    ]
    assert result["importances"].keys() == SPACE.keys()
