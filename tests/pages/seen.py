"""A page as a person meets it, and what a person does not see: its log, its requests, what axe finds."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

SHAPES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "has_touch": True,
        "is_mobile": True,
    },
}
SERIOUS = {"serious", "critical"}


class Seen:
    """A page that is open in the browser; `faults` is all that went wrong without being seen."""

    def __init__(self, context: BrowserContext, base: str, shape: str) -> None:
        self.page: Page = context.new_page()
        self.base = base
        self.shape = shape
        self.faults: list[str] = []
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._asked)

    def open(self, path: str) -> Page:
        """Goes there, and waits until nothing is being filled in any more."""
        self.page.goto(self.base + path)
        expect(self.page.locator("[aria-busy=true]:visible")).to_have_count(0)
        return self.page

    def look(self, name: str) -> None:
        """Judges what is shown, and keeps a picture of it where HARMONICDET_SCREENSHOTS says."""
        folder = os.environ.get("HARMONICDET_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}-{self.shape}.png", full_page=True)
        found = Axe().run(self.page).response["violations"]
        self.faults += [
            f"axe, {name}: {one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            self.faults.append(f"{name}: {wide} pixels wider than the screen")

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        there = urlsplit(request.url)
        if there.scheme not in ("data", "blob") and f"{there.scheme}://{there.netloc}" != self.base:
            self.faults.append(f"asks elsewhere: {request.url}")
