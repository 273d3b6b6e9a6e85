"""The `search` job with the real `python -m detector suggest`, between trainings of the fake detector."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from detector.config import SGD, TrainConfig
from detector.search.specification import Specification
from detector.search.suggest import suggest
from store import jobs, searches
from store.clock import database_now
from store.searches import NewTrial, Trial
from store.tables import DEFAULT_PROJECT, Job, JobStatus, RequestedAction, Search
from tests.store.helpers import PROBLEM, do, take
from tests.worker.fake_detector import quality
from tests.worker.helpers import until
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor

Ask = Callable[..., str]
Row = Callable[[str], Job]
SPACE = {
    "optimizer.lr": {"kind": "float", "low": 1e-4, "high": 1.0, "log": True},
    "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]},
}


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    return settings.model_copy(update={"stall_seconds": 600.0})


@pytest.fixture
def ask(shop: Workshop, dataset: str) -> Ask:
    """A search; its id."""

    def ask_(epochs: int = 2, **changes: Any) -> str:
        config = TrainConfig(epochs=epochs)
        values: dict[str, Any] = {
            "project_id": DEFAULT_PROJECT,
            "dataset_id": dataset,
            "config": {"epochs": epochs},
            "resolved_config": config.model_dump(mode="json"),
            "space": SPACE,
            "trials": 3,
            "seed": 5,
        }
        with shop.database.begin() as session:
            return searches.create(session, **(values | changes))[0].id

    return ask_


def read(shop: Workshop, search_id: str) -> tuple[Search, list[Trial]]:
    with shop.database.read() as session:
        return searches.get(session, DEFAULT_PROJECT, search_id), searches.trials(session, [search_id])


def expected(trials: int, seed: int) -> list[dict[str, Any]]:
    """The parameters of a search that nothing disturbs."""
    found: list[dict[str, Any]] = []
    for _ in range(trials):
        asked = {"space": SPACE, "seed": seed, "trials": found}
        (one,) = suggest(Specification.model_validate(asked))
        value = quality(float(str(one.params["optimizer.lr"])))
        found.append({"params": one.params, "state": "complete", "value": value})
    return [one["params"] for one in found]


@pytest.fixture
def killable(settings: WorkerSettings, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a worker process."""
    path = tmp_path / "settings.json"
    path.write_text(settings.model_dump_json(exclude_none=True))
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.worker.killable", str(path)]
        started.append(subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_trials_are_the_same_whoever_was_killed_meanwhile(
    supervisor: Supervisor, shop: Workshop, ask: Ask, row: Row, killable: Callable[[], Any]
) -> None:
    search = ask(epochs=20, trials=2)
    worker = killable()
    drawing = str(read(shop, search)[0].job_id)
    until(lambda: row(drawing).status is JobStatus.RUNNING, 60)
    _kill(worker)
    _lapse(shop, row)
    worker = killable()

    def trains() -> Trial | None:
        tried = read(shop, search)[1]
        is_under_way = tried and 1 <= (tried[0].progress or {}).get("step", 0) < 20
        return tried[0] if is_under_way else None

    victim = until(trains, 60)
    _kill(worker)
    _lapse(shop, row)
    while read(shop, search)[0].outcome is None:
        for queue in ("train", "evaluate"):
            supervisor.work_off(queue)
    done, tried = read(shop, search)
    assert done.outcome is JobStatus.SUCCEEDED, done.error
    assert (row(drawing).attempt, row(victim.job_id).attempt) == (2, 2)
    assert [one.params for one in tried] == expected(2, 5)
    assert [one.value for one in tried] == [quality(one.params["optimizer.lr"]) for one in tried]
    best = searches.best(tried)
    assert best is not None
    assert best.value == max(quality(one.params["optimizer.lr"]) for one in tried)
    for one in tried:
        config = TrainConfig.model_validate(row(one.job_id).resolved_config)
        assert config.epochs == 20
        assert (config.loss.kind, config.optimizer.lr) == (one.params["loss"], one.params["optimizer.lr"])
    assert done.result == {"importances": None}
    assert not list((shop.settings.data / "runs").iterdir())


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _lapse(shop: Workshop, row: Row) -> None:
    """Its lease ends; the job is due again."""
    (lost,) = until(lambda: shop.database.run(jobs.reap), 20)
    until(lambda: row(lost).not_before <= _now(shop), 20)


def _now(shop: Workshop) -> float:
    with shop.database.read() as session:
        return session.scalar(select(database_now())) or 0.0


def begin(shop: Workshop, search: str, *rates: float) -> list[Trial]:
    """Trials with these learning rates are queued, as a worker draws them."""
    claim = take(shop.database, str(read(shop, search)[0].job_id))
    new = []
    for rate in rates:
        config = TrainConfig(epochs=200 if rate == 1.0 else 2, optimizer=SGD(lr=rate))
        new.append(NewTrial({"optimizer.lr": rate, "loss": "harmonic"}, config.model_dump(mode="json")))
    shop.database.run(
        lambda session: searches.finish(session, claim, drawn=new, result={"importances": None})
    )
    return read(shop, search)[1]


def test_a_pruned_trial_frees_its_worker(
    supervisor: Supervisor, shop: Workshop, ask: Ask, row: Row, settings: WorkerSettings
) -> None:
    rule = {"startup_trials": 1, "warmup_epochs": 0}
    search = ask(trials=2, parallel=2, pruning=rule)
    good, bad = begin(shop, search, 0.01, 1.0)
    supervisor.work_off("train")  # one after the other
    assert row(good.job_id).status is JobStatus.SUCCEEDED
    pruned = row(bad.job_id)
    assert (pruned.status, pruned.status_reason, pruned.error) == (JobStatus.CANCELLED, "pruned", None)
    assert (pruned.progress or {}).get("step", 0) < 100, "its worker did not wait for the end"
    assert not list((settings.data / "runs").iterdir())
    summing = str(read(shop, search)[0].job_id)
    supervisor.work_off("evaluate")
    done, tried = read(shop, search)
    assert done.outcome is JobStatus.SUCCEEDED, row(summing).log_tail
    best = searches.best(tried)
    assert best is not None
    assert best.job_id == good.job_id
    assert [one.value for one in tried] == [1.0, None]


def test_what_is_drawn_from_tells_trials_apart(
    supervisor: Supervisor, shop: Workshop, ask: Ask, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the real detector is given, of a search with a trial of every fate, and that it takes it."""
    search = ask(trials=7, parallel=6)
    tried = begin(shop, search, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
    supervisor.work(tried[0].job_id)
    for one, code in zip(tried[1:4], ("non_finite_loss", "out_of_memory", "worker_lost"), strict=True):
        claim = take(shop.database, one.job_id)
        do(shop.database, jobs.fail, claim, reason=code, error=PROBLEM | {"code": code})
    do(shop.database, jobs.request, DEFAULT_PROJECT, tried[4].job_id, RequestedAction.CANCEL)
    given: list[dict[str, Any]] = []
    write = Path.write_text

    def write_(path: Path, text: str, *rest: Any, **options: Any) -> int:
        if path.name == "SEARCH.json":
            given.append(json.loads(text))
        return write(path, text, *rest, **options)

    monkeypatch.setattr(Path, "write_text", write_)
    drawing = str(read(shop, search)[0].job_id)
    supervisor.work(drawing)
    assert row(drawing).status is JobStatus.SUCCEEDED, row(drawing).log_tail
    ((asked),) = given
    assert [one["state"] for one in asked["trials"]] == [
        *("complete", "unfit", "unfit", "failed", "failed", "running")
    ]
    assert (asked["count"], asked["seed"], len(read(shop, search)[1])) == (1, 5, 7)


def test_a_space_in_which_nothing_is_a_config_fails_the_search(
    supervisor: Supervisor, shop: Workshop, ask: Ask
) -> None:
    search = ask(space={"epochs": {"kind": "int", "low": -5, "high": 0}})
    supervisor.work_off("evaluate")
    done, _ = read(shop, search)
    assert done.outcome is JobStatus.FAILED
    assert done.error is not None
    assert (done.error["code"], done.error["title"]) == ("search_invalid", "The search cannot go on")
    assert "None of 100 draws" in done.error["detail"]
