"""The pages as files: what is in them, who may have them, how long they are kept."""

import gzip
import re

from httpx2 import Response
from starlette.testclient import TestClient

from api import access
from api.app import create_app
from api.pages import assets, shells
from api.settings import Settings

PATHS = [path.replace("{id}", "x") for path in shells.PAGES]


def test_a_page_holds_nothing_inline_and_nothing_from_elsewhere(client: TestClient) -> None:
    for path in PATHS:
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text), path
        assert not re.search(r"<script(?![^>]* src=)", answer.text), path
        links = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
        assert links
        assert all(re.match(r"/(?!/)|#", link) for link in links), links


def test_whatever_a_page_loads_is_there_and_may_be_kept_for_ever(client: TestClient) -> None:
    for path in PATHS:
        loaded = re.findall(r'(?:src|href|data-charts)="(/static/[^"]*)"', client.get(path).text)
        assert len(loaded) > 3
        for one in loaded:
            answer = client.get(one, headers={"Accept-Encoding": "gzip"})
            assert answer.status_code == 200, one
            assert "immutable" in answer.headers["cache-control"]


def test_every_module_that_is_imported_is_there() -> None:
    tree = assets.tree()
    for name, asset in tree.items():
        for wanted in re.findall(rb'(?:from|import) ?\(?"\./([^"]+)"', asset.content):
            assert wanted.decode() in tree, (name, wanted)


def test_a_page_is_rendered_once_and_asked_for_anew_costs_304(client: TestClient) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


def test_a_file_of_another_version_is_given_but_not_kept(client: TestClient) -> None:
    answer = client.get("/static/0123456789abcdef/dom.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert client.get(f"/static/{assets.version()}/no.js").status_code == 404
    assert client.get("/static/../api/app.py").status_code in (401, 404)


def test_files_are_zipped_for_those_who_take_that(client: TestClient) -> None:
    def sent(accept: str) -> Response:
        return client.get(f"/static/{assets.version()}/pages.css", headers={"Accept-Encoding": accept})

    assert "content-encoding" not in sent("identity").headers
    assert sent("gzip").headers["content-encoding"] == "gzip"
    assert sent("gzip").text == sent("identity").text


def test_the_first_page_is_small_without_the_chart_script() -> None:
    """All that `/` loads before it is complete, as it is sent, were every module imported."""
    sent = [asset.zipped or asset.content for asset in assets.tree().values()]
    first = shells.shell("home").asset
    assert sum(map(len, sent)) + len(first.zipped or first.content) < 150_000


def test_the_chart_script_is_that_of_the_installed_package(client: TestClient) -> None:
    charts = assets.charts()
    assert charts is not None
    assert charts.zipped is not None
    assert gzip.decompress(charts.zipped) == charts.content
    assert b"plotly.js v" in charts.content[:200]


def test_whoever_has_no_key_may_have_the_pages_and_nothing_more(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"require_keys": True}))
    with TestClient(app, base_url="http://localhost") as stranger:
        assert all(stranger.get(path).status_code == 200 for path in PATHS)
        for path in ("/v1", "/v1/datasets", "/metrics", "/datasets/x/y", "/static/x/y/z", "/train/x"):
            assert stranger.get(path).status_code == 401, path


def test_only_pages_are_public_beside_what_was(settings: Settings) -> None:
    """A route that is added later does not become public by its path alone; pages are not described."""
    app = create_app(settings)
    described = app.openapi()["paths"]
    assert not set(described) & {*shells.PAGES, "/session", "/static/{version}/{name}"}
    for path, operations in described.items():
        for operation in operations.values():
            open_to_all = access.is_public(re.sub(r"{\w+}", "x", path))
            assert open_to_all == (operation["operationId"] in access.PUBLIC), path
