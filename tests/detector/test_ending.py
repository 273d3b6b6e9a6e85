"""Trainings that end before their last epoch with a model all the same."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector import artifacts, checkpoint, engine
from detector.engine import Interrupted
from detector.events import AnyEvent, EventReader, MetricEvent, NoticeEvent, PhaseEvent, ProgressEvent
from detector.export import Parity
from tests.detector.helpers import config, run_training


@pytest.fixture(autouse=True)
def _no_export(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported, and how well, is another module's matter."""
    if "exports" not in request.node.name:

        def written(folder: Path, *_: object) -> Parity:
            folder.mkdir(exist_ok=True)
            return Parity(0, 0, 0.0, 0.0, None, 0, 0)

        monkeypatch.setattr(artifacts, "write_model", written)
        nothing: dict[str, Any] = {"all": {"chosen": None}, "per_class": []}
        report = {"operating_points": {"best_f1": nothing, "precision": nothing}}
        monkeypatch.setattr(engine.Training, "_report", lambda *_: report)


def after(calls: int) -> Callable[[], bool]:
    """False so many times, then true."""
    asked = 0

    def ask() -> bool:
        nonlocal asked
        asked += 1
        return asked > calls

    return ask


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


def evaluations(events: list[AnyEvent]) -> list[tuple[int, float]]:
    return [(e.step, e.epoch) for e in events if isinstance(e, MetricEvent) and e.split == "val"]


def codes(events: list[AnyEvent]) -> list[str]:
    return [event.code for event in events if isinstance(event, NoticeEvent)]


def test_a_stop_within_the_first_epoch_evaluates_and_exports_what_has_been_learned(
    dataset: Path, tmp_path: Path
) -> None:
    events = run_training(dataset, tmp_path, config(), stop=after(1))
    found = result(tmp_path)
    assert (found["reason"], found["steps"], found["epochs"], found["best_epoch"]) == ("stopped", 1, 0, 1)
    assert evaluations(events) == [(1, 0.5)]
    assert codes(events) == ["stopped"]
    assert [e.phase for e in events if isinstance(e, PhaseEvent)][-2:] == ["evaluating", "exporting"]
    assert {one["name"] for one in found["artifacts"]} >= {"model.onnx", "model.safetensors"}


def test_a_stop_before_the_first_step_measures_the_weights_it_started_from(
    dataset: Path, tmp_path: Path
) -> None:
    run_training(dataset, tmp_path, config(), stop=lambda: True)
    found = result(tmp_path)
    assert (found["reason"], found["steps"], found["best_epoch"]) == ("stopped", 0, 0)


def test_a_stop_right_after_an_evaluation_evaluates_nothing_twice(dataset: Path, tmp_path: Path) -> None:
    events = run_training(dataset, tmp_path, config(epochs=3), stop=after(2))
    assert evaluations(events) == [(2, 1.0)]
    assert result(tmp_path)["epochs"] == 1


def test_a_training_that_ends_by_itself_was_not_stopped(dataset: Path, tmp_path: Path) -> None:
    events = run_training(dataset, tmp_path, config(), stop=after(4))
    assert (result(tmp_path)["reason"], codes(events)) == (None, [])


def test_a_training_killed_after_its_stop_does_not_go_back_to_learning(dataset: Path, tmp_path: Path) -> None:
    interrupted = after(2)  # asked before each step, then in the evaluation
    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path / "first", config(), stop=after(1), interrupted=interrupted)
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    run_training(dataset, tmp_path / "second", config(), resume=path)
    run_training(dataset, tmp_path / "unbroken", config(), stop=after(1))
    assert result(tmp_path / "second") == result(tmp_path / "unbroken")


def test_resumed_with_a_stop_it_evaluates_the_checkpoint(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path / "first", config(), interrupted=after(1))
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    events = run_training(dataset, tmp_path / "second", config(), resume=path, stop=lambda: True)
    assert evaluations(events) == [(1, 0.5)]
    assert (result(tmp_path / "second")["reason"], result(tmp_path / "second")["steps"]) == ("stopped", 1)


def test_the_time_budget_counts_all_attempts(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 10 seconds on this clock."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    honest = engine.Training._step

    def step(self: engine.Training, *arguments: Any) -> None:
        nonlocal now
        now += 10.0
        honest(self, *arguments)

    monkeypatch.setattr(engine.Training, "_step", step)
    budget = config(time_budget_seconds=25.0)
    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path / "first", budget, interrupted=after(1))
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    now = 1e6  # another machine, another clock, and a long time in the queue
    events = run_training(dataset, tmp_path / "second", budget, resume=path)
    found = result(tmp_path / "second")
    assert (found["reason"], found["steps"]) == ("time_budget_reached", 3)
    assert evaluations(events) == [(2, 1.0), (3, 1.5)]
    assert codes(events) == ["time_budget_reached"]

    ended = checkpoint.paths(tmp_path / "second/checkpoints")[-1]
    run_training(dataset, tmp_path / "third", config(time_budget_seconds=99.0), resume=ended)
    assert (result(tmp_path / "third")["reason"], result(tmp_path / "third")["steps"]) == (None, 4)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="a signal of Unix")
def test_sigusr1_ends_a_running_training_with_a_model(dataset: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "detector", "train", "--data", str(dataset), "--run", str(tmp_path)]
    training = config(epochs=10_000).model_dump_json()
    with subprocess.Popen([*command, "--config", training], env={**os.environ, "OMP_NUM_THREADS": "1"}) as it:
        deadline = time.monotonic() + 200
        while not any(isinstance(e, ProgressEvent) and e.step for e in EventReader(tmp_path).read()):
            assert it.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        it.send_signal(signal.SIGUSR1)
        assert it.wait(200) == 0
    assert result(tmp_path)["reason"] == "stopped"
