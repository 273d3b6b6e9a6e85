"""Comparisons and searches: arms side by side with intervals and verdict, trials with what they brought."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient

from api.services import Services
from detector import figures
from tests.api import test_comparisons
from tests.api.served import Served
from tests.pages.conftest import seen

LEVELS = np.linspace(0.5, 0.95, 10)
CURVES = [
    figures.Curve(name, figures.COLOURS[place], 60 + 4 * place - 50 * (LEVELS - 0.5), error=np.ones(10))
    for place, name in enumerate(("baseline", "ours"))
]
FIGURES = {
    "ap_over_iou": figures.ap_over_iou(LEVELS, CURVES, "AP in points"),
    "score_against_iou": figures.score_against_iou(
        [
            figures.Density(
                name, figures.COLOURS[0], np.ones((4, 3)), [0, 0.25, 0.5, 0.75, 1], [0.5, 0.7, 0.9, 1]
            )
            for name in ("baseline", "ours")
        ]
    ),
    "pr": figures.pr(np.linspace(0, 1, 10), CURVES),
}
METRIC = {"mean": 0.0123, "interval": [0.004, 0.02]}
REPORT: dict[str, Any] = test_comparisons.REPORT | {
    "primary": "AP",
    "arms": [
        {"name": "baseline", "mean": {"AP": 0.352}, "sd": {"AP": 0.004}},
        {"name": "ours", "mean": {"AP": 0.3643}, "sd": {"AP": 0.003}},
    ],
    "differences": [
        {
            "arm": "ours",
            "against": "baseline",
            "verdict": "better",
            "decided_by": METRIC,
            "metrics": {"AP": METRIC},
        }
    ],
    "warnings": ["Both arms were measured on the images by which their weights were chosen."],
    "figures": FIGURES,
}


@pytest.fixture
def comparison(client: TestClient, ready: dict[str, Any]) -> dict[str, Any]:
    return test_comparisons.made(test_comparisons.ask(client, ready["id"], name="losses"))


def test_a_comparison_shows_its_arms_intervals_and_verdict(
    chromium: Browser,
    server: Served,
    services: Services,
    comparison: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(test_comparisons, "REPORT", REPORT)
    test_comparisons.compared(services, comparison)
    with seen(chromium, server) as one:
        page = one.open(f"/comparisons/{comparison['id']}")
        expect(page.get_by_text("ours is better than baseline")).to_be_visible()
        expect(page.get_by_text("AP differs by +1.23 points over 3 seeds")).to_contain_text("+0.40 to +2.00")
        row = page.locator("#arms tbody tr").first
        expect(row.get_by_role("cell")).to_have_text(["35.2± 0.4", "36.4± 0.3", "+1.23+0.40 to +2.00"])
        expect(page.locator("#runs td a")).to_have_count(6)
        for name in FIGURES:
            expect(page.locator(f"#{name} .main-svg").first).to_be_visible(timeout=15_000)
        expect(page.locator("#differences")).to_be_hidden()  # this report has no such figure
        one.look("comparison")
        one.open("/comparisons")
        expect(page.get_by_text("better")).to_be_visible()
        one.look("comparisons")


def test_a_comparison_is_asked_for_and_cancelled(
    chromium: Browser, server: Served, ready: dict[str, Any]
) -> None:
    with seen(chromium, server) as one:
        page = one.open("/comparisons")
        page.get_by_text("Compare ways of training").click()
        page.get_by_label("Epochs").fill("2")
        page.get_by_label("Name", exact=True).fill("ours")
        arms = page.get_by_label("What it changes, as JSON")
        arms.nth(1).fill("{loss}")
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#fault")).to_contain_text("must be a JSON object")
        arms.nth(1).fill('{"loss": {"gamma": 0.5}}')
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/comparisons/cmp_*")
        found = server.client.get(f"/v1{page.url.removeprefix(one.base)}").json()
        assert [arm["config"] for arm in found["arms"]] == [{"loss": "baseline"}, {"loss": {"gamma": 0.5}}]
        assert (found["seeds"], found["config"]["epochs"], found["name"]) == ([1, 2, 3], 2, "ours")
        expect(page.locator("#runs td a")).to_have_text(["queued"] * 6)
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#status")).to_have_text("cancelled")


def test_a_search_is_followed(chromium: Browser, server: Served, ready: dict[str, Any]) -> None:
    body = {
        "dataset_id": ready["id"],
        "name": "rates",
        "space": {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}},
        "max_trials": 5,
    }
    made = server.client.post("/v1/searches", json=body).json()
    with seen(chromium, server) as one:
        page = one.open("/searches")
        page.get_by_role("link", name="rates").click()
        page.wait_for_url(f"**/searches/{made['id']}")
        expect(page.get_by_role("heading", name="rates")).to_be_visible()
        expect(page.get_by_text("0 / 5")).to_be_visible()
        one.look("search")


def test_a_search_is_asked_for_of_what_the_config_has(
    chromium: Browser, server: Served, ready: dict[str, Any]
) -> None:
    with seen(chromium, server) as one:
        page = one.open("/searches")
        page.get_by_text("Search for better settings").click()
        page.get_by_label("Epochs of a trial").fill("2")
        page.get_by_label("Trials", exact=True).fill("6")
        page.get_by_label("What is to be large").select_option("AP75")
        page.get_by_label("Name", exact=True).fill("rates")
        page.get_by_text("End trials early").click()
        rate = page.get_by_role("group", name="Optimizer: Learning rate")
        expect(rate.get_by_label("From")).to_have_value("0.002")  # around the default, as far as it may be
        expect(rate.get_by_label("To")).to_have_value("0.2")
        expect(rate.get_by_label("Drawn")).to_have_value("log")
        more = page.get_by_label("One more")
        assert more.locator("option", has_text="seed").count() == 0
        for name in ("architecture.image_size", "batch_size", "loss.iou_loss", "loss.alpha"):
            more.select_option(name)
        one.look("search-form")
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#fault")).to_contain_text("loss.iou_loss is a part of loss")
        one.expected("422")
        page.get_by_role("button", name="Do not search loss.iou_loss").click()
        page.get_by_role("button", name="Do not search loss.alpha").click()
        rate.get_by_label("To").fill("0.001")
        page.get_by_role("button", name="Start").click()
        expect(rate.locator(".fault")).to_contain_text("low 0.002 must be below high 0.001")
        one.expected("422")
        rate.get_by_label("To").fill("0.1")
        sizes = page.get_by_role("group", name="Detector: Image size")
        sizes.get_by_label("From").fill("192")
        batches = page.get_by_role("group", name="Training: Batch size")
        batches.get_by_label("Drawn").select_option("choices")
        batches.get_by_label("Values, with commas between").fill("4, 8")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/searches/srch_*")
        found = server.client.get(f"/v1{page.url.removeprefix(one.base)}").json()
        assert found["space"] == {
            "optimizer.lr": {"kind": "float", "low": 0.002, "high": 0.1, "log": True},
            "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]},
            "architecture.image_size": {"kind": "int", "low": 192, "high": 640, "step": 32, "log": False},
            "batch_size": {"kind": "categorical", "choices": [4, 8]},
        }
        assert (found["name"], found["metric"], found["max_trials"], found["pruning"]) == (
            "rates",
            "AP75",
            6,
            None,
        )
        expect(page.get_by_text("0 / 6")).to_be_visible()
