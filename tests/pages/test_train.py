"""A new training: the form that the schema makes, the dry run beside it, and what is sent in the end."""

from typing import Any

from playwright.sync_api import Browser, expect

from tests.api.served import Served
from tests.pages.conftest import seen


def test_the_form_tells_beside_it_what_the_training_would_be(
    chromium: Browser, server: Served, ready: dict[str, Any]
) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/train?dataset={ready['id']}")
        plan = page.locator("#plan")
        expect(plan.get_by_text("12", exact=True)).to_be_visible()  # 8 images, batches of 8, 12 epochs
        page.get_by_label("Epochs").fill("30")
        expect(plan.get_by_text("30", exact=True)).to_be_visible()
        page.get_by_label("Batch size").fill("2")
        expect(plan.get_by_text("120", exact=True)).to_be_visible()
        expect(plan.get_by_text("for the network")).to_contain_text("for images")
        expect(plan.get_by_text("known once one like it has ended")).to_be_visible()
        one.look("train")


def test_only_what_was_changed_is_sent(chromium: Browser, server: Served, ready: dict[str, Any]) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/train?dataset={ready['id']}")
        page.get_by_label("Epochs").fill("3")
        page.get_by_label("Loss", exact=True).select_option("harmonic")
        page.locator(".choice", has=page.get_by_label("Loss", exact=True)).get_by_text("Its options").click()
        page.get_by_label("Alpha").fill("2.5")
        page.get_by_label("Optimizer").select_option("adamw")
        page.get_by_label("Name of the model").fill("cells")
        page.get_by_role("button", name="Start the training").click()
        page.wait_for_url("**/jobs/job_*")
        job = server.client.get(f"/v1{page.url.removeprefix(one.base)}").json()
        sent = job["spec"]["config"]
        assert set(sent) == {"architecture", "epochs", "loss", "optimizer"}
        assert (sent["epochs"], sent["loss"]) == (3, {"kind": "harmonic", "alpha": 2.5})
        assert job["resolved_config"]["optimizer"]["kind"] == "adamw"
        assert job["spec"]["name"] == "cells"
        expect(page.get_by_role("heading", name="cells", exact=True)).to_be_visible()


def test_the_usual_optimizer_is_the_detectors(
    chromium: Browser, server: Served, ready: dict[str, Any]
) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/train?dataset={ready['id']}")
        optimizer = page.get_by_label("Optimizer")
        expect(optimizer).to_have_value("sgd")
        page.get_by_label("Detector").select_option("retinanet_resnet50_fpn")
        expect(optimizer).to_have_value("adamw")
        page.locator(".choice", has=optimizer).get_by_text("Its options").click()
        expect(page.get_by_label("Learning rate")).to_have_attribute("placeholder", "0.0002")


def test_what_cannot_be_is_said_at_its_field(
    chromium: Browser, server: Served, ready: dict[str, Any]
) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/train?dataset={ready['id']}")
        expect(page.locator("#plan dd").first).to_be_visible()
        epochs = page.get_by_label("Epochs")
        epochs.fill("0")
        expect(epochs).to_have_attribute("aria-invalid", "true")
        expect(page.locator(".field", has=epochs).locator(".fault")).to_contain_text(
            "greater than or equal to 1"
        )
        expect(page.get_by_role("button", name="Start the training")).to_be_disabled()
        epochs.fill("5")
        expect(page.get_by_role("button", name="Start the training")).to_be_enabled()
        expect(page.locator(".fault:visible")).to_have_count(0)
        one.expected("422")


def test_every_architecture_has_its_form(chromium: Browser, server: Served, ready: dict[str, Any]) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/train?dataset={ready['id']}")
        expect(page.locator("#plan dd").first).to_be_visible()
        names = page.locator("#architecture option").all_text_contents()
        assert len(names) > 5
        for name in names:
            page.get_by_label("Detector").select_option(name)
            expect(page.locator("#plan pre")).to_contain_text(name)
            expect(page.get_by_label("Initial weights")).to_be_visible()
