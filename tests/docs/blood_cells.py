"""Makes the pictures and the numbers of docs/blood-cells.md, on the real service in a real browser.

    python -m tests.docs.blood_cells bccd.zip

The archive is the folder `BCCD` of https://github.com/Shenggan/BCCD_Dataset, zipped. Pictures go to
docs/images, the numbers to standard output.
"""

import argparse
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page, expect, sync_playwright

from tests.acceptance.service import RunningService
from tests.pages.conftest import CHROMIUM

PICTURES = Path(__file__).parents[2] / "docs" / "images"
SLOWLY = 1_800_000  # milliseconds
MOST_BYTES = 80_000
TALLEST = 1500
COMPARED = '"architecture": {"image_size": 128}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--without-comparison", action="store_true")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningService(Path(folder) / "data") as service,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1180, "height": 860}, base_url=f"http://127.0.0.1:{service.port}"
        )
        expect.set_options(timeout=SLOWLY)
        told = _train(page, service, asked.archive)
        told |= _look(page, service, told["job"], _of_test(asked.archive, Path(folder)))
        if not asked.without_comparison:
            told |= _compare(page, service)
        browser.close()
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 0


def _train(page: Page, service: RunningService, archive: Path) -> dict[str, Any]:
    page.goto("/datasets")
    page.locator("#file").set_input_files(archive)
    page.wait_for_url("**/datasets/ds_*")
    expect(page.locator("#status")).to_have_text("invalid")
    refused = page.url.rpartition("/")[2]
    page.goto("/datasets")
    page.get_by_text("Options").click()
    page.get_by_label("Annotations that are wrong").select_option("drop")
    page.locator("#file").set_input_files(archive)
    page.wait_for_url("**/datasets/ds_*")
    expect(page.locator("#status")).to_have_text("ready", timeout=60_000)
    expect(page.locator("#ratios").get_by_role("row").first).to_be_visible()
    expect(page.locator("#images img").first).to_be_visible()
    _keep(page, "dataset")
    dataset = page.url.rpartition("/")[2]
    page.get_by_role("button", name="Show", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("rect[stroke-dasharray]").first).to_be_attached()
    _keep(page, "finding", dialog)
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Train on it").click()
    page.get_by_label("Epochs").fill("10")
    page.get_by_label("Batch size").fill("4")
    page.get_by_label("Image size").fill("224")
    page.get_by_label("Name of the model").fill("blood cells")
    expect(page.locator("#plan").get_by_text("510", exact=True)).to_be_visible()
    _keep(page, "train", tallest=860)
    body = {"kind": "train", "dataset_id": dataset, "config": _config()}
    plan = service.client.post("/v1/jobs?dry_run=true", json=body).json()
    page.get_by_role("button", name="Start the training").click()
    page.wait_for_url("**/jobs/job_*")
    job = page.url.rpartition("/")[2]
    service.until(lambda: (service.job(job)["progress"] or {}).get("fraction", 0) > 0.6, SLOWLY / 1e3)
    expect(page.locator("#curves .scatterlayer .trace")).to_have_count(3)
    _keep(page, "job")
    expect(page.locator("#status")).to_have_text("succeeded")
    after = service.client.post("/v1/jobs?dry_run=true", json=body).json()
    ended = service.job(job)
    return {
        "refused": service.get(f"/v1/datasets/{refused}")["error"],
        "dataset": service.get(f"/v1/datasets/{dataset}"),
        "findings": service.get(f"/v1/datasets/{dataset}/report")["data"],
        "stats": service.get(f"/v1/datasets/{dataset}/stats"),
        "plan": plan,
        "plan of the next": {name: after[name] for name in ("time", "memory")},
        "job": ended,
        "model": service.get(f"/v1/models/{ended['model_id']}"),
    }


def _config() -> dict[str, Any]:
    architecture = {"kind": "ssdlite320_mobilenet_v3_large", "image_size": 224}
    return {"architecture": architecture, "epochs": 10, "batch_size": 4}


def _of_test(archive: Path, folder: Path) -> Path:
    """An image that the detector has not seen: the first of the test split."""
    with zipfile.ZipFile(archive) as file:
        name = file.read("BCCD/ImageSets/Main/test.txt").decode().split()[0]
        return Path(file.extract(f"BCCD/JPEGImages/{name}.jpg", folder))


def _look(page: Page, service: RunningService, job: dict[str, Any], image: Path) -> dict[str, Any]:
    page.goto(f"/evaluations/{job['evaluation_id']}")
    expect(page.locator("#pr .main-svg").first).to_be_visible()
    expect(page.locator("#images img").first).to_be_visible()
    _keep(page, "evaluation")
    gallery = page.locator("section", has=page.locator("#gallery-head"))
    with page.expect_response("**/images?*showing=misses*"):
        page.locator("#filters select[name=showing]").select_option("misses")
    expect(page.locator("#images img").first).to_be_visible()
    gallery.scroll_into_view_if_needed()
    _keep(page, "mistakes", gallery, tallest=760)

    page.goto(f"/models/{job['model_id']}")
    page.locator("#file").set_input_files(image)
    expect(page.locator("#timing")).to_contain_text("ms")
    _keep(page, "model", tallest=900)
    return {
        "image": image.name,
        "found": page.locator("#found").inner_text(),
        "timing": page.locator("#timing").inner_text(),
        "advice": page.locator("#advice").inner_text(),
        "evaluation": service.get(f"/v1/evaluations/{job['evaluation_id']}"),
    }


def _compare(page: Page, service: RunningService) -> dict[str, Any]:
    page.goto("/comparisons")
    page.get_by_text("Compare ways of training").click()
    page.get_by_label("Epochs").fill("3")
    arms = page.get_by_label("What it changes, as JSON")
    for place, loss in enumerate(("baseline", "harmonic")):
        arms.nth(place).fill(f'{{"loss": "{loss}", {COMPARED}}}')
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/comparisons/cmp_*")
    comparison = page.url.rpartition("/")[2]
    expect(page.locator("#answers .status")).to_be_visible()
    expect(page.locator("#differences .main-svg").first).to_be_visible()
    _keep(page, "comparison")
    found = service.get(f"/v1/comparisons/{comparison}")
    report = service.get(f"/v1/comparisons/{comparison}/report?format=json")
    kept = ("arms", "differences", "warnings")
    return {"comparison": found, "report": {name: report[name] for name in kept}}


def _keep(page: Page, name: str, part: Locator | None = None, *, tallest: int = TALLEST) -> None:
    """A picture of the page from its top, or of a part of it, as small as it has to be."""
    page.wait_for_timeout(1500)  # charts are drawn
    # The bar stays at the top of what is seen, which here is the middle of the picture.
    page.evaluate("document.querySelector('.bar').style.position = 'static'")
    if part is not None:
        data = part.screenshot()
    else:
        page.evaluate("scrollTo(0, 0)")
        height = min(tallest, page.evaluate("document.documentElement.scrollHeight"))
        data = page.screenshot(full_page=True, clip=FloatRect(x=0, y=0, width=1180, height=height))
    with Image.open(io.BytesIO(data)) as whole:
        picture = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, tallest)))
    for quality in (82, 74, 66, 58, 50, 42):
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() < MOST_BYTES:
            break
        if quality < 60:
            picture = picture.resize(
                (picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.LANCZOS
            )
    (PICTURES / f"blood-cells-{name}.webp").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    raise SystemExit(main())
