"""What a search may change: names, ranges, choices, and how a value gets into a config."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from detector.search.space import Space, size, with_values

RATE = {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True}
read: TypeAdapter[Any] = TypeAdapter(Space)


@pytest.mark.parametrize(
    ("space", "why"),
    [
        ({}, "at least 1"),
        ({"optimizer/lr": RATE}, "should match pattern"),
        ({"optimizer..lr": RATE}, "should match pattern"),
        ({"lr": {"kind": "normal", "low": 0, "high": 1}}, "kind"),
        ({"lr": {"kind": "float", "low": 1, "high": 1}}, "low 1 must be below high 1"),
        ({"lr": {"kind": "float", "low": 0, "high": 1, "log": True}}, "must be above 0"),
        ({"lr": {"kind": "float", "low": 0, "high": 1e300}}, "less than or equal"),
        ({"lr": {"kind": "float", "low": False, "high": 1}}, "valid number"),
        ({"lr": {"kind": "float", "low": "0", "high": 1}}, "valid number"),
        ({"n": {"kind": "int", "low": 1, "high": 8, "step": 2}}, "a multiple of step, 2"),
        ({"n": {"kind": "int", "low": 1, "high": 9, "step": 2, "log": True}}, "do not go together"),
        ({"n": {"kind": "int", "low": 1, "high": 2.5}}, "valid integer"),
        ({"c": {"kind": "categorical", "choices": ["a"]}}, "at least 2"),
        ({"c": {"kind": "categorical", "choices": ["a", "a"]}}, "once"),
        ({"c": {"kind": "categorical", "choices": [1, True]}}, "once"),
        ({"c": {"kind": "categorical", "choices": [{"kind": "a"}, 1]}}, "must be a name, a number"),
        ({"c": {"kind": "categorical", "choices": [float("nan"), 1]}}, "must be a name, a number"),
        ({"c": {"kind": "categorical", "choices": ["a" * 101, 1]}}, "must be a name, a number"),
        (
            {"loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]}, "loss.alpha": RATE},
            "loss.alpha is a part of loss",
        ),
        ({f"p{number}": RATE for number in range(21)}, "20 parameters at most"),
    ],
)
def test_what_is_no_space_is_refused(space: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read.validate_python(space)
    assert why in str(refused.value)


def test_a_value_gets_to_its_place_and_the_config_stays_as_it_was() -> None:
    config = {"epochs": 3, "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.5}}
    changed = with_values(config, {"optimizer.lr": 0.01, "epochs": 5, "augmentation.mosaic": 0.5})
    assert changed == {
        "epochs": 5,
        "optimizer": {"kind": "sgd", "lr": 0.01, "momentum": 0.5},
        "augmentation": {"mosaic": 0.5},
    }
    assert config == {"epochs": 3, "optimizer": {"kind": "sgd", "lr": 0.1, "momentum": 0.5}}
    assert with_values({"optimizer": "adamw"}, {"optimizer.lr": 0.01}) == {
        "optimizer": {"kind": "adamw", "lr": 0.01}
    }


def test_the_name_of_a_choice_keeps_the_options_of_its_own_kind_only() -> None:
    config = {"loss": {"kind": "harmonic", "gamma": 0.5}, "augmentation": {"mosaic": 0.5}}
    assert with_values(config, {"loss": "harmonic"}) == config
    assert with_values(config, {"loss": "baseline"})["loss"] == "baseline"
    assert with_values(config, {"augmentation": None})["augmentation"] is None


def test_a_space_without_numbers_between_numbers_has_an_end() -> None:
    choice = {"kind": "categorical", "choices": ["a", None, 3]}
    steps = {"kind": "int", "low": 2, "high": 10, "step": 4}
    assert size(read.validate_python({"a": choice, "b": steps})) == 9
    assert size(read.validate_python({"a": choice, "b": RATE})) is None
