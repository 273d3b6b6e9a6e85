"""What there is, at a glance."""

from playwright.sync_api import Browser, expect

from tests.api.served import Served
from tests.pages.conftest import seen

LISTS = ("/", "/datasets", "/jobs", "/models")


def test_the_lists_show_what_there_is(
    chromium: Browser, server: Served, model: str, job: dict[str, str]
) -> None:
    with seen(chromium, server) as one:
        page = one.open("/")
        expect(page.get_by_role("link", name="reds and greens")).to_be_visible()
        expect(page.get_by_role("link", name="cells")).to_be_visible()
        expect(page.get_by_text("succeeded").first).to_be_visible()
        expect(page.locator("#steps")).to_be_hidden()
        one.look("overview")
        for path in LISTS[1:]:
            one.open(path)
            expect(page.locator("tbody tr[data-id]").first).to_be_visible()
        one.look("models")


def test_an_empty_service_says_how_to_begin(chromium: Browser, server: Served) -> None:
    with seen(chromium, server) as one:
        page = one.open("/")
        expect(page.get_by_role("link", name="Upload a dataset")).to_be_visible()
        expect(page.get_by_text("No model yet.")).to_be_visible()
        one.look("empty")


def test_a_list_of_jobs_can_be_filtered_and_the_address_keeps_it(
    chromium: Browser, server: Served, job: dict[str, str]
) -> None:
    with seen(chromium, server) as one:
        page = one.open("/jobs")
        expect(page.locator("tbody tr[data-id]")).to_have_count(2)
        page.get_by_label("Kind").select_option("train")
        expect(page.locator("tbody tr[data-id]")).to_have_count(1)
        assert page.url.endswith("/jobs?kind=train")
        page.reload()
        expect(page.get_by_label("Kind")).to_have_value("train")
        expect(page.locator("tbody tr[data-id]")).to_have_count(1)


def test_the_colours_can_be_chosen_and_stay(chromium: Browser, server: Served) -> None:
    with seen(chromium, server) as one:
        page = one.open("/")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        expect(page.locator("#theme")).to_have_attribute("aria-label", "Colours: dark")


def test_a_page_can_be_used_by_keyboard(chromium: Browser, server: Served, model: str) -> None:
    with seen(chromium, server) as one:
        page = one.open("/models")
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        for _ in range(2):
            page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="reds and greens")).to_be_focused()
