"""A model: tried on an image, its threshold moved, its files, aliases and provenance."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.api.helpers import encoded, picture
from tests.api.served import Served
from tests.pages.conftest import seen


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Red at 0.9, green at 0.6."""
    pixels = picture()
    pixels[80:120, 8:40, 1] = 153
    path = tmp_path / "image.png"
    path.write_bytes(encoded(pixels))
    return path


def test_a_model_is_tried_and_the_slider_filters_at_once(
    chromium: Browser, server: Served, model: str, image: Path
) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/models/{model}")
        page.locator("#file").set_input_files(image)
        found = page.locator("#found")
        expect(found).to_have_text("2 objects: 1 red, 1 green")
        one.look("model")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_label("Score at least").fill("0.8")
        expect(found).to_have_text("1 object: 1 red")
        expect(page.locator("#stage svg > g > g:visible")).to_have_count(1)
        page.get_by_label("Score at least").fill("0.1")
        page.get_by_label("red").uncheck()
        expect(found).to_have_text("1 object: 1 green")
        assert asked == []


def test_what_is_no_image_is_refused_in_words(
    chromium: Browser, server: Served, model: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no image")
    with seen(chromium, server) as one:
        page = one.open(f"/models/{model}")
        page.locator("#file").set_input_files(path)
        expect(page.locator(".toast.bad")).to_be_visible()
        one.expected("422")


def test_a_model_gets_an_alias_and_a_name(chromium: Browser, server: Served, model: str) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/models/{model}")
        page.get_by_label("Name", exact=True).fill("production")
        page.get_by_role("button", name="Give it to this model").click()
        expect(page.locator("#aliases li")).to_have_count(1)
        assert server.client.get("/v1/models/production").json()["id"] == model
        page.get_by_role("button", name="Take the alias production away").click()
        expect(page.locator("#aliases li")).to_have_count(0)
        page.once("dialog", lambda dialog: dialog.accept("cells"))
        page.get_by_role("button", name="Rename").click()
        expect(page.get_by_role("heading", name="cells", exact=True)).to_be_visible()


def test_a_file_of_a_model_is_downloaded(chromium: Browser, server: Served, model: str) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/models/{model}")
        with page.expect_download() as waiting:
            page.get_by_role("link", name="model.onnx").click()
        path = waiting.value.path()
        assert path.read_bytes() == server.client.get(f"/v1/models/{model}/artifacts/model.onnx").content


def test_a_model_is_evaluated_on_a_dataset(chromium: Browser, server: Served, model: str) -> None:
    with seen(chromium, server) as one:
        page = one.open(f"/models/{model}")
        expect(page.locator("#evaluations tbody tr[data-id]")).to_have_count(1)
        page.get_by_role("button", name="Evaluate").click()
        expect(page.locator("#evaluations tbody tr[data-id]")).to_have_count(2)
