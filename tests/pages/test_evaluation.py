"""An evaluation: its tables and figures, and image by image what was found, missed, and odd."""

import io
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient

from api.services import Services
from store import datasets
from tests.api.helpers import SUMMARY, claimed, encoded
from tests.api.served import Served
from tests.api.test_evaluations import INDEX, finish, made, measured, upload
from tests.pages.conftest import seen

__all__ = ["measured"]


@pytest.fixture
def finished(client: TestClient, services: Services, measured: Path) -> str:
    """Path of the page of an evaluation on a dataset that has the images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for place, one in enumerate(INDEX.images):
            file.writestr(one.file_name, encoded(np.full((64, 64, 3), 60 + 60 * place, np.uint8)))
    kind = {"Content-Type": "application/zip"}
    dataset = client.post("/v1/datasets?name=grey", content=buffer.getvalue(), headers=kind).json()
    claim = claimed(services, dataset["validation_job_id"])
    images: list[dict[str, Any]] = [
        {"file_name": one.file_name, "split": one.split, "width": one.width, "height": one.height, "boxes": 1}
        for one in INDEX.images
    ]
    services.database.run(
        lambda s: datasets.mark_ready(
            s,
            claim,
            index=services.blobs.put_bytes(msgspec.json.encode(INDEX)).key,
            format="coco",
            summary=SUMMARY,
            images=images,
            findings=[],
        )
    )
    body = made(upload(client, dataset["id"], score_threshold="0.5"))
    finish(services, body, measured)
    return f"/evaluations/{body['id']}"


def test_an_evaluation_shows_its_numbers_figures_and_mistakes(
    chromium: Browser, server: Served, finished: str
) -> None:
    with seen(chromium, server) as one:
        page = one.open(finished)
        told = server.client.get(f"/v1{finished}").json()
        cell = page.get_by_role("row", name="AP mean over IoU").get_by_role("cell")
        expect(cell).to_have_text(f"{100 * told['metrics']['AP']:.1f}")
        expect(page.locator("#classes tbody tr")).to_have_count(2)
        for name in ("pr", "ap_over_iou", "confusion", "score_against_iou", "thresholds"):
            expect(page.locator(f"#{name} .main-svg").first).to_be_visible(timeout=15_000)
        expect(page.locator("#images li")).to_have_count(1)  # b: red for green
        page.locator("#images").scroll_into_view_if_needed()
        expect(page.locator("#images img")).to_be_visible()
        expect(page.locator("#images img")).to_have_js_property("naturalWidth", 64)
        one.look("evaluation")
        page.locator("#images button").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.locator("svg text")).to_have_text(["red 0.60", "green missed"])


def test_the_gallery_shows_what_is_asked_for(chromium: Browser, server: Served, finished: str) -> None:
    with seen(chromium, server) as one:
        page = one.open(finished)
        images = page.locator("#images li")
        expect(images).to_have_count(1)
        page.get_by_label("Showing").select_option("")
        expect(images).to_have_count(3)
        page.get_by_label("Showing").select_option("mistakes")
        page.get_by_label("Score at least").fill("0.1")
        page.get_by_label("Score at least").press("Enter")
        expect(images).to_have_count(2)  # c's faint green counts now
        page.get_by_label("Showing").select_option("inconsistent")
        expect(page.get_by_text("No such image.")).to_be_visible()


def test_an_evaluation_that_is_not_over_says_so(
    chromium: Browser, server: Served, client: TestClient, model: str, ready: dict[str, Any]
) -> None:
    body = client.post("/v1/evaluations", json={"model": model, "dataset_id": ready["id"]}).json()
    with seen(chromium, server) as one:
        page = one.open(f"/evaluations/{body['id']}")
        expect(page.get_by_text("It is being measured.")).to_be_visible()
        expect(page.locator("#measured")).to_be_hidden()
