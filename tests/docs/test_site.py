"""The documentation as a site: every link leads somewhere, and reading it asks nobody else."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from tests.client.described import DESCRIBED

ROOT = Path(__file__).parents[2]


class Loaded(HTMLParser):
    """What a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link that leads nowhere would have ended the building."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert [one for one in loaded.found if re.match(r"(https?:)?//", one)] == [], page
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", styles) == []


def test_every_operation_is_in_the_reference(site: Path) -> None:
    text = (site / "reference" / "rest.html").read_text()
    missing = [name for name, (method, path, _) in DESCRIBED.items() if f"{method} {path}<" not in text]
    assert missing == []


def test_the_reference_has_the_client_and_its_commands(site: Path) -> None:
    client = (site / "reference" / "client.html").read_text()
    assert "upload" in client
    assert "What the model finds on an image" in client
    assert "harmonicdet searches best" in (site / "reference" / "commands.html").read_text()
