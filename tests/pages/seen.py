"""A page as a person meets it, and what a person does not see: its log, its requests, what axe finds."""

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, ViewportSize, expect

WIDE: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
SHAPES: dict[str, tuple[ViewportSize, Literal["light", "dark"]]] = {
    "phone": (PHONE, "light"),
    "dark": (WIDE, "dark"),
    "light": (WIDE, "light"),
}
SERIOUS = {"serious", "critical"}


class Seen:
    """A page that is open in the browser; `faults` is all that went wrong without being seen."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.page: Page = context.new_page()
        self.base = base
        self.faults: list[str] = []
        self._folder = os.environ.get("HARMONICDET_SCREENSHOTS")
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._asked)

    def open(self, path: str) -> Page:
        """Goes there, and waits until nothing is being filled in any more."""
        self.page.goto(self.base + path)
        expect(self.page.locator("[aria-busy=true]:visible")).to_have_count(0)
        return self.page

    def look(self, name: str) -> None:
        """Judges what is shown, on a phone, in dark and in light; keeps pictures where
        HARMONICDET_SCREENSHOTS says."""
        for shape, (size, colours) in SHAPES.items():
            self.page.emulate_media(color_scheme=colours)
            self.page.set_viewport_size(size)
            if self._folder:
                Path(self._folder).mkdir(parents=True, exist_ok=True)
                self.page.wait_for_timeout(400)  # charts are drawn anew
                self.page.screenshot(path=Path(self._folder) / f"{name}-{shape}.png", full_page=True)
            if size is WIDE:
                self._judge(f"{name}, {shape}", only_contrast=colours == "dark")
            beyond = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if beyond > 0:
                self.faults.append(f"{name}, {shape}: {beyond} pixels wider than the screen")

    def expected(self, words: str) -> None:
        """What the browser logs of a refusal that was meant is no fault."""
        self.faults = [fault for fault in self.faults if words not in fault]

    def _judge(self, name: str, *, only_contrast: bool) -> None:
        rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if only_contrast else {}
        found = Axe().run(self.page, options=rules).response["violations"]
        self.faults += [
            f"axe, {name}: {one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        there = urlsplit(request.url)
        if there.scheme not in ("data", "blob") and f"{there.scheme}://{there.netloc}" != self.base:
            self.faults.append(f"asks elsewhere: {request.url}")
