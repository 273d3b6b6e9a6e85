"""A search from the request to the best config, with real trainings and a worker that is killed meanwhile."""

from typing import Any

import pytest

from tests.acceptance.service import CONFIG, RunningService

pytestmark = [pytest.mark.acceptance, pytest.mark.long, pytest.mark.timeout(1500)]
TRIALS = 3


def begin(service: RunningService, dataset: str) -> str:
    body = {
        "dataset_id": dataset,
        "config": CONFIG | {"epochs": 1, "evaluate_every": 1},
        "space": {
            "optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True},
            "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]},
        },
        "max_trials": TRIALS,
    }
    answer = service.client.post("/v1/searches", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


def ended(service: RunningService, path: str) -> dict[str, Any]:
    service.until(lambda: service.get(path)["status"] in {"succeeded", "failed", "cancelled"}, 600)
    found: dict[str, Any] = service.get(path)
    assert found["status"] == "succeeded", (found["error"], service.logs())
    return found


def test_a_search_comes_to_the_same_whoever_was_killed(service: RunningService, dataset: str) -> None:
    path = begin(service, dataset)
    service.until(lambda: len(service.get(path)["trials"]) == 1, 60)
    first = service.get(path)["trials"][0]["job_id"]
    service.until(lambda: (service.job(first)["progress"] or {}).get("step", 0) > 2, 120)
    service.worker_of(first).kill()
    killed = ended(service, path)
    assert service.job(first)["attempt"] == 2
    undisturbed = ended(service, begin(service, dataset))

    for one in (killed, undisturbed):
        assert len(one["trials"]) == TRIALS
        assert one["best"]["value"] == max(trial["value"] for trial in one["trials"])
        assert one["best_config"]["optimizer"]["lr"] == one["best"]["params"]["optimizer.lr"]
    assert [one["params"] for one in killed["trials"]] == [one["params"] for one in undisturbed["trials"]]
    assert [one["value"] for one in killed["trials"]] == [one["value"] for one in undisturbed["trials"]]
    assert len({str(one["params"]) for one in killed["trials"]}) == TRIALS

    model = service.get(f"/v1/models/{killed['best']['model_id']}")
    assert model["metrics"]["AP"] == killed["best"]["value"]
