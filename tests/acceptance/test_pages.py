"""A person walks through the pages of the real service: upload with a defect, see it drawn, train, watch,
cancel, predict, compare."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.service import RunningService
from tests.pages.conftest import chromium
from tests.pages.seen import WIDE, Seen

__all__ = ["chromium"]
pytestmark = [pytest.mark.acceptance, pytest.mark.long, pytest.mark.timeout(900)]
SLOWLY = 240_000  # milliseconds: both cores are busy training


@pytest.fixture(scope="module")
def broken(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small synthetic dataset, one box of which sticks out of its image."""
    path = tmp_path_factory.mktemp("broken") / "shapes.zip"
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(path, "w") as file:
        for name in whole.namelist():
            data = whole.read(name)
            if name.endswith("instances_train.json"):
                document = json.loads(data)
                document["annotations"][0]["bbox"] = [100, 40, 90, 50]
                data = json.dumps(document).encode()
            file.writestr(name, data)
    return path


@pytest.fixture
def walker(chromium: Browser, service: RunningService) -> Iterator[Seen]:
    context = chromium.new_context(viewport=WIDE)
    one = Seen(context, f"http://127.0.0.1:{service.port}")
    yield one
    assert one.faults == []
    context.close()


def test_a_person_gets_from_an_archive_to_detections(
    walker: Seen, service: RunningService, broken: Path, tmp_path: Path
) -> None:
    page = walker.open("/datasets")
    page.get_by_text("Options").click()
    page.get_by_label("Annotations that are wrong").select_option("fix")
    page.locator("#file").set_input_files(broken)
    page.wait_for_url("**/datasets/ds_*")
    expect(page.get_by_text("box exceeds image")).to_be_visible(timeout=SLOWLY)
    walker.look("walk-dataset")
    page.get_by_role("button", name="Show", exact=True).first.click()
    wrong = page.get_by_role("dialog").locator("rect[stroke-dasharray]")
    expect(wrong).to_have_attribute("width", "90")
    walker.look("walk-finding")
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Train on it").click()
    page.get_by_label("Epochs").fill("3")
    page.get_by_label("Batch size").fill("2")
    page.get_by_label("Image size").fill("128")
    page.get_by_label("Name of the model").fill("shapes")
    expect(page.locator("#plan").get_by_text("36", exact=True)).to_be_visible()  # 24 images in twos, 3 epochs
    walker.look("walk-train")
    page.get_by_role("button", name="Start the training").click()
    page.wait_for_url("**/jobs/job_*")
    curves = page.locator("#curves")
    expect(curves.locator(".scatterlayer .trace").first).to_be_visible(timeout=SLOWLY)
    first = curves.get_attribute("aria-label")
    expect(curves).not_to_have_attribute("aria-label", str(first), timeout=SLOWLY)
    walker.look("walk-job")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=SLOWLY)

    page.get_by_role("link", name="See the model").click()
    page.wait_for_url("**/models/mdl_*")
    page.get_by_role("button", name="Take one of its dataset").click()
    expect(page.locator("#timing")).to_contain_text("ms")
    page.get_by_label("Score at least").fill("0")
    many = page.locator("#found").inner_text()
    page.get_by_label("Score at least").fill("1")
    expect(page.locator("#found")).not_to_have_text(many)
    page.get_by_label("Score at least").fill("0.3")
    walker.look("walk-model")

    page.locator("#facts a[href^='/evaluations/']").click()
    expect(page.locator("#pr .main-svg").first).to_be_visible(timeout=SLOWLY)
    expect(page.locator("#images img").first).to_be_visible()
    walker.look("walk-evaluation")


def test_a_training_is_cancelled_by_hand(walker: Seen, service: RunningService, dataset: str) -> None:
    job = service.submit(dataset, epochs=500)
    page = walker.open(f"/jobs/{job}")
    expect(page.locator("#phase")).to_have_text("Training", timeout=SLOWLY)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("cancelled", timeout=SLOWLY)
    assert service.job(job)["status"] == "cancelled"


def test_two_losses_are_compared(walker: Seen, service: RunningService, dataset: str) -> None:
    page = walker.open("/comparisons")
    page.get_by_text("Compare ways of training").click()
    page.get_by_label("Epochs").fill("1")
    arms = page.get_by_label("What it changes, as JSON")
    small = '"architecture": {"image_size": 128}, "batch_size": 4'
    for place, loss in enumerate(("baseline", "harmonic")):
        arms.nth(place).fill(f'{{"loss": "{loss}", {small}}}')
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/comparisons/cmp_*")
    expect(page.locator("#answers .status")).to_be_visible(timeout=2 * SLOWLY)
    expect(page.locator("#differences .main-svg").first).to_be_visible(timeout=SLOWLY)
    walker.look("walk-comparison")
