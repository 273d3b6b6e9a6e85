"""A comparison from the request to the report, with real trainings and a worker that is killed meanwhile."""

from typing import Any

import pytest

from tests.acceptance.service import CONFIG, RunningService

pytestmark = [pytest.mark.acceptance, pytest.mark.long, pytest.mark.timeout(1500)]
SEEDS = [1, 2, 3]
SAME = ("data_order_sha256", "initial_state_sha256")


@pytest.fixture(scope="module")
def finished(service: RunningService, dataset: str) -> dict[str, Any]:
    """The baseline, the baseline once more, and the harmonic loss."""
    config = {name: value for name, value in CONFIG.items() if name != "seed"} | {"epochs": 1}
    body = {
        "dataset_id": dataset,
        "name": "losses",
        "config": config | {"evaluate_every": 1, "loss": "baseline"},
        "arms": [
            {"name": "baseline"},
            {"name": "the same"},
            {"name": "harmonic", "config": {"loss": "harmonic"}},
        ],
        "seeds": SEEDS,
    }
    answer = service.client.post("/v1/comparisons", json=body)
    assert answer.status_code == 202, answer.text
    path, first = answer.headers["location"], answer.json()["arms"][0]["runs"][0]["job_id"]
    service.until(lambda: (service.job(first)["progress"] or {}).get("step", 0) > 2, 120)
    service.worker_of(first).kill()
    ends = {"succeeded", "failed", "cancelled"}
    service.until(lambda: service.get(path)["status"] in ends, 1200)
    assert service.job(first)["attempt"] == 2
    found: dict[str, Any] = service.get(path)
    assert found["status"] == "succeeded", (found["error"], service.logs())
    return found


def test_arms_with_a_seed_begin_alike(service: RunningService, finished: dict[str, Any]) -> None:
    begun = {
        (arm["name"], run["seed"]): service.get(f"/v1/jobs/{run['job_id']}/manifest")["trainer"]
        for arm in finished["arms"]
        for run in arm["runs"]
    }
    assert len(begun) == 9
    for name in SAME:
        assert len({one[name] for one in begun.values()}) == len(SEEDS), "every seed begins in its own way"
        for seed in SEEDS:
            assert len({one[name] for (_, its), one in begun.items() if its == seed}) == 1
    assert finished["result"]["paired"] == {"data_order": True, "initial_weights": True}


def test_an_arm_is_neither_better_nor_worse_than_itself(
    service: RunningService, finished: dict[str, Any]
) -> None:
    assert finished["verdict"]["the same"] == "inconclusive"
    report = service.get(f"/v1/comparisons/{finished['id']}/report")
    (difference,) = [one for one in report["differences"] if one["arm"] == "the same"]
    for name, one in difference["metrics"].items():
        assert one["mean"] in (0, None), name
        assert one["mean"] is None or (one["per_seed"], one["interval"]) == ([0, 0, 0], [0, 0]), name


def test_the_report_is_a_page_and_figures(service: RunningService, finished: dict[str, Any]) -> None:
    path = f"/v1/comparisons/{finished['id']}"
    page = service.client.get(f"{path}/report", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "losses" in page.text
    assert page.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "harmonic" in service.client.get(f"{path}/report?format=markdown").text
    for name in ("differences", "pr", "ap_over_iou", "score_against_iou", "loss_curves"):
        assert service.get(f"{path}/figures/{name}")["data"], name
