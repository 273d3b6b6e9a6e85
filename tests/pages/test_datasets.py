"""Datasets: uploading one, what was wrong with it drawn on its image, its numbers and images."""

import base64
import io
import zipfile
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from api.services import Services
from detector.data.boxes import checked_box
from detector.data.findings import Findings
from store import datasets
from tests.api.helpers import SUMMARY, claimed
from tests.api.served import Served
from tests.api.test_dataset_images import FILES, INDEX, NAMES
from tests.pages.conftest import seen

LARGE = 3 << 20


def ready(services: Services, dataset_id: str, job_id: str) -> None:
    """What a worker makes of the archive: four images, two boxes that were not as they should be."""
    found = Findings("fix")
    found.image = NAMES[1]
    checked_box((300.0, 20.0, 700.0, 200.0), "a.json#/annotations/3/bbox", 512, 256, found)
    found.image = NAMES[0]
    checked_box((4.0, 5.0, 4.0, 60.0), "a.json#/annotations/9/bbox", 128, 128, found)
    claim = claimed(services, job_id)
    services.database.run(
        lambda s: datasets.mark_ready(
            s,
            claim,
            index=services.blobs.put_bytes(msgspec.json.encode(INDEX)).key,
            format="coco",
            summary=SUMMARY,
            images=[
                {
                    "file_name": one.file_name,
                    "split": one.split,
                    "width": one.width,
                    "height": one.height,
                    "boxes": len(one.annotations),
                }
                for one in INDEX.images
            ],
            findings=[msgspec.to_builtins(one) for one in found.kept()],
        )
    )


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    path = tmp_path / "blood cells.zip"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in NAMES:
            file.writestr(name, FILES[name])
    path.write_bytes(buffer.getvalue())
    return path


def choose(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)


def drop(page: Page, path: Path) -> None:
    """As if the file were dragged in from outside."""
    data = page.evaluate_handle(
        """([name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
            return data;
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": data})
    expect(page.locator("#drop")).to_have_class("drop over")
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})


def test_a_dataset_is_uploaded_and_its_faults_are_drawn(
    chromium: Browser, server: Served, zipped: Path
) -> None:
    with seen(chromium, server) as one:
        page = one.open("/datasets")
        page.get_by_text("Options").click()
        page.get_by_label("Annotations that are wrong").select_option("fix")
        one.look("upload")
        drop(page, zipped)
        page.wait_for_url("**/datasets/ds_*")
        expect(page.get_by_role("heading", name="blood cells")).to_be_visible()
        expect(page.get_by_text("validating")).to_be_visible()
        made = server.client.get(f"/v1{page.url.removeprefix(one.base)}").json()
        assert made["options"]["on_invalid"] == "fix"
        ready(server.services, made["id"], made["validation_job_id"])
        expect(page.get_by_text("ready", exact=True)).to_be_visible(timeout=10_000)
        expect(page.get_by_text("box exceeds image")).to_be_visible()
        expect(page.locator("#classes tr")).to_have_count(2)
        expect(page.locator("#images li")).to_have_count(4)
        one.look("dataset")
        page.get_by_role("button", name="Show", exact=True).nth(0).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("sticks out of its image")).to_be_visible()
        strong = dialog.locator("rect[stroke-dasharray]")
        assert [strong.get_attribute(name) for name in ("x", "y", "width", "height")] == [
            "300",
            "20",
            "400",
            "180",
        ]
        one.look("finding")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)


def test_images_are_filtered_and_looked_at_by_keyboard(
    chromium: Browser, server: Served, zipped: Path
) -> None:
    body = {"Content-Type": "application/zip"}
    made = server.client.post("/v1/datasets?name=d", content=zipped.read_bytes(), headers=body).json()
    ready(server.services, made["id"], made["validation_job_id"])
    with seen(chromium, server) as one:
        page = one.open(f"/datasets/{made['id']}")
        expect(page.locator("#images li")).to_have_count(4)
        page.locator("#filters [name=category_id]").select_option("green")
        expect(page.locator("#images li")).to_have_count(2)
        page.locator("#images button").first.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("heading", name="images/a.png")).to_be_visible()
        expect(dialog.locator("svg text")).to_have_text(["red", "green (crowd)"])
        page.keyboard.press("ArrowRight")
        expect(dialog.get_by_role("heading", name="images/d.bmp")).to_be_visible()
        page.keyboard.press("ArrowRight")
        expect(dialog.get_by_role("button", name="Next image")).to_be_disabled()


def test_an_upload_that_was_cut_off_goes_on_where_it_stopped(
    chromium: Browser, server: Served, tmp_path: Path
) -> None:
    path = tmp_path / "large.zip"
    path.write_bytes(b"PK\x05\x06" + bytes(18))
    with seen(chromium, server) as one:
        cuts = 0

        def cut(route: Route) -> None:
            nonlocal cuts
            if route.request.method == "PATCH" and cuts == 0:
                cuts += 1
                server.client.patch(
                    route.request.url.removeprefix(one.base),
                    content=path.read_bytes()[:10],
                    headers={
                        "Tus-Resumable": "1.0.0",
                        "Upload-Offset": "0",
                        "Content-Type": "application/offset+octet-stream",
                    },
                )
                route.abort()
            else:
                if route.request.method == "PATCH":
                    assert route.request.headers["upload-offset"] == "10"
                route.continue_()

        page = one.open("/datasets")
        page.route("**/v1/uploads/*", cut)
        choose(page, path)
        page.wait_for_url("**/datasets/ds_*")
        one.expected("ERR_FAILED")
        assert cuts == 1
        made = server.client.get(f"/v1{page.url.removeprefix(one.base)}").json()
        assert made["archive"]["bytes"] == 22


def test_a_refusal_is_told_where_the_file_is(chromium: Browser, server: Served, tmp_path: Path) -> None:
    path = tmp_path / "huge.zip"
    path.write_bytes(bytes(LARGE))  # the server of the tests takes 3,000,000
    with seen(chromium, server) as one:
        page = one.open("/datasets")
        choose(page, path)
        expect(page.locator("#uploads .fault")).to_contain_text("at most 3000000 bytes")
        one.expected("413")


def test_whatever_a_name_holds_it_stays_a_text(chromium: Browser, server: Served, zipped: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    made = server.client.post(
        "/v1/datasets",
        params={"name": name},
        content=zipped.read_bytes(),
        headers={"Content-Type": "application/zip"},
    ).json()
    with seen(chromium, server) as one:
        page = one.open("/datasets")
        expect(page.get_by_role("link", name=name)).to_be_visible()
        one.open(f"/datasets/{made['id']}")
        expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_a_dataset_of_another_project_looks_absent(chromium: Browser, server: Served) -> None:
    with seen(chromium, server) as one:
        page = one.open("/datasets/ds_01jz4m8x0v3s7q9k2b5c6d7e8f")
        expect(page.get_by_text("There is no such dataset")).to_be_visible()
        one.expected("404")


def test_a_dataset_is_deleted_once_it_is_sure(chromium: Browser, server: Served, zipped: Path) -> None:
    body = {"Content-Type": "application/zip"}
    made = server.client.post("/v1/datasets?name=d", content=zipped.read_bytes(), headers=body).json()
    ready(server.services, made["id"], made["validation_job_id"])
    with seen(chromium, server) as one:
        page = one.open(f"/datasets/{made['id']}")
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name="Delete").click()
        assert server.client.get(f"/v1/datasets/{made['id']}").status_code == 200
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete").click()
        page.wait_for_url("**/datasets")
        assert server.client.get(f"/v1/datasets/{made['id']}").status_code == 404
