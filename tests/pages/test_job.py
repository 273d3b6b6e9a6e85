"""A job: how far it is, its curves as they grow, its events and log, and what may be asked of it."""

import re
from typing import Any

from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from api.services import Services
from store import jobs
from store.jobs import Claim
from tests.api.helpers import claimed, trained
from tests.api.served import Served
from tests.pages.conftest import seen
from tests.store.helpers import do, end_lease, make_due

Rows = list[tuple[str, int, float, dict[str, float]]]


def told(services: Services, claim: Claim, rows: Rows) -> None:
    services.database.run(lambda s: jobs.record_metrics(s, claim, rows))


def learned(services: Services, claim: Claim, start: int, end: int) -> None:
    """Steps of a training whose loss falls, ten an epoch, each epoch measured after its last step is told."""
    for epoch in range(start // 10, end // 10):
        last = 10 * epoch + 9
        for rows in (
            [("train", step, step / 10, {"loss": 4 / (1 + step / 10)}) for step in range(last - 9, last + 1)],
            [("val", last, last / 10, {"AP": last / 200, "AP50": last / 120})],
        ):
            told(services, claim, rows)
    progress = {
        "epoch": end // 10,
        "epochs": 10,
        "step": end,
        "steps": 100,
        "fraction": end / 100,
        "eta_seconds": 100.0 - end,
    }
    services.database.run(lambda s: jobs.set_log_tail(s, claim, f"epoch {end // 10} of 10\n"))
    services.database.run(lambda s: jobs.set_progress(s, claim, progress))


def test_a_training_is_watched_while_it_learns(
    chromium: Browser, server: Served, job: dict[str, Any]
) -> None:
    services = server.services
    with seen(chromium, server) as one:
        page = one.open(f"/jobs/{job['id']}")
        expect(page.get_by_text("queued", exact=True).first).to_be_visible()
        claim = claimed(services, job["id"])
        services.database.run(lambda s: jobs.set_phase(s, claim, "training"))
        expect(page.locator("#phase")).to_have_text("Training")  # told by the stream
        learned(services, claim, 0, 40)
        curves = page.locator("#curves")
        expect(curves.locator(".scatterlayer .trace")).to_have_count(3, timeout=15_000)
        expect(page.locator("#left")).to_contain_text("1 min 0 s left")
        expect(page.locator("#log")).to_contain_text("epoch 4 of 10")
        before = curves.get_attribute("aria-label")
        learned(services, claim, 40, 80)
        expect(page.locator("#log")).to_contain_text("epoch 8 of 10", timeout=15_000)
        expect(curves).not_to_have_attribute("aria-label", str(before))
        told(services, claim, [("train", 80, 8.0, {"loss": 0.4})])
        services.database.run(lambda s: jobs.set_phase(s, claim, "evaluating"))
        expect(curves).to_have_attribute("aria-label", re.compile("loss 0.400"))
        told(services, claim, [("val", 80, 8.0, {"AP": 0.425})])  # of a step that the page has
        services.database.run(lambda s: jobs.set_phase(s, claim, "exporting"))
        expect(curves).to_have_attribute("aria-label", re.compile("AP 42.5"))
        expect(page.locator("#events li strong").first).to_have_text("phase")
        one.look("job")


def test_what_may_be_asked_follows_the_status(chromium: Browser, server: Served, job: dict[str, Any]) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/jobs/{job['id']}")
        buttons = page.locator("#actions button")
        expect(buttons).to_have_text(["Pause", "Cancel"])
        page.get_by_role("button", name="Pause").click()
        expect(buttons).to_have_text(["Stop and keep", "Resume", "Cancel"])
        page.get_by_role("button", name="Resume").click()
        expect(buttons).to_have_text(["Pause", "Cancel"])
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        expect(buttons).to_have_text(["Retry"])
        expect(page.locator("#events li strong").first).to_have_text("cancelled")
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#events li strong").first).to_have_text("retried")


def test_a_training_that_has_ended_leads_to_its_model(
    chromium: Browser, server: Served, job: dict[str, Any]
) -> None:
    model = trained(server.services, job["id"])
    with seen(chromium, server) as one:
        page = one.open(f"/jobs/{job['id']}")
        expect(page.get_by_role("link", name="See the model")).to_have_attribute("href", f"/models/{model}")
        expect(page.locator("#now")).to_be_hidden()


def test_a_failure_is_told_with_its_hint(chromium: Browser, server: Served, job: dict[str, Any]) -> None:
    claim = claimed(server.services, job["id"])
    error = {"code": "out_of_memory", "detail": "The GPU has no memory left.", "hint": "Halve batch_size."}
    server.services.database.run(
        lambda s: jobs.fail(s, claim, reason="out_of_memory", error={"type": "about:blank", **error})
    )
    with seen(chromium, server) as one:
        page = one.open(f"/jobs/{job['id']}")
        for words in ("out of memory", error["detail"], error["hint"]):
            expect(page.locator("#notice").get_by_text(words)).to_be_visible()
        one.look("failed")


def test_a_page_that_nobody_looks_at_holds_no_stream(
    chromium: Browser, app: FastAPI, server: Served, job: dict[str, Any]
) -> None:
    streams = app.state.services.streams
    with seen(chromium, server) as one:
        page = one.open(f"/jobs/{job['id']}")
        expect(page.locator("#events li")).to_have_count(1)
        assert streams.open == 1
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        claim = claimed(server.services, job["id"])  # that a client has gone shows when it is written to
        for _ in range(100):
            if streams.open == 0:
                break
            page.wait_for_timeout(50)
        assert streams.open == 0
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.locator("#events li strong").first).to_have_text("started")
        server.services.database.run(lambda s: jobs.set_phase(s, claim, "training"))
        expect(page.locator("#events li")).to_have_count(3)


def test_the_curves_of_an_attempt_that_begins_anew_replace_those_of_the_lost_one(
    chromium: Browser, server: Served, job: dict[str, Any]
) -> None:
    services = server.services
    learned(services, claimed(services, job["id"]), 0, 40)
    with seen(chromium, server) as one:
        page = one.open(f"/jobs/{job['id']}")
        curves = page.locator("#curves")
        expect(curves).to_have_attribute("aria-label", re.compile("AP 19.5"))
        end_lease(services.database, job["id"])
        do(services.database, jobs.reap)
        make_due(services.database, job["id"])
        claim = claimed(services, job["id"])
        told(services, claim, [("train", 0, 0.0, {"loss": 7.25})])
        services.database.run(lambda s: jobs.set_phase(s, claim, "training"))
        expect(curves).to_have_attribute("aria-label", re.compile(r"loss 7\.25, AP not measured yet"))
