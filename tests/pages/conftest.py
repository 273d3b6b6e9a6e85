"""A real Chromium on the real application, watched: what it logs, what it asks for, what axe finds."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.api.conftest import (
    app,
    client,
    dataset,
    in_process,
    job,
    migrated,
    model,
    ready,
    server,
    services,
    settings,
)
from tests.api.served import Served
from tests.pages.seen import WIDE, Seen

__all__ = [
    "app",
    "client",
    "dataset",
    "in_process",
    "job",
    "migrated",
    "model",
    "ready",
    "server",
    "services",
    "settings",
]

CHROMIUM = os.environ.get("HARMONICDET_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)

expect.set_options(timeout=20_000)  # on a busy machine too


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The installed browser, without a window. While it is open it holds an event loop of this thread."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (apt-get install chromium), nor named by HARMONICDET_CHROMIUM")
    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that containers, where it would run as root, do not give.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def seen(browser: Browser, server: Served) -> Iterator[Seen]:
    """A page in a browser that knows nothing yet; nothing may have gone wrong at the end."""
    context = browser.new_context(viewport=WIDE)
    try:
        one = Seen(context, f"http://127.0.0.1:{server.port}")
        yield one
        assert one.faults == []
    finally:
        context.close()
