"""Signing in: what the cookie is, what it allows, when it ends, and that no other site can use it."""

import time
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient

from api.pages import session
from api.services import Services
from api.settings import Settings
from store import keys, projects
from store.keys import NewKey, Scope
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import problem
from tests.api.served import Served
from tests.pages.conftest import seen

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"require_keys": True})


def made(services: Services, *scopes: Scope, **more: Any) -> NewKey:
    assert services.secret is not None
    with services.database.begin() as database:
        project = projects.ensure(database, DEFAULT_PROJECT).id
        return keys.create(
            database,
            secret=services.secret,
            project_id=project,
            name="browser",
            scopes=scopes or tuple(Scope),
            **more,
        )


def signed_in(client: TestClient, key: NewKey) -> str:
    """The cookie, as the browser would send it from now on."""
    answer = client.post("/session", json={"key": key.text}, headers=OWN)
    assert answer.status_code == 204, answer.text
    return str(answer.headers["set-cookie"])


def test_the_cookie_is_for_this_site_only_and_scripts_do_not_see_it(
    client: TestClient, services: Services
) -> None:
    key = made(services)
    cookie = signed_in(client, key)
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert key.text not in cookie
    assert client.get("/v1/me").json()["key_id"] == key.row.id
    assert client.post("/v1/keys", json={"name": "n", "scopes": ["read"]}, headers=OWN).status_code == 201


def test_over_https_the_cookie_is_bound_to_the_host(settings: Settings, services: Services) -> None:
    from api.app import create_app

    key = made(services)
    with TestClient(create_app(settings), base_url="https://here.example") as client:
        cookie = signed_in(client, key)
        assert cookie.startswith("__Host-harmonicdet=")
        assert "Secure" in cookie.split("; ")
        assert client.get("/v1/me").status_code == 200


def test_behind_a_proxy_that_ends_tls_it_is_too(client: TestClient, services: Services) -> None:
    ended = OWN | {"X-Forwarded-Proto": "https"}
    answer = client.post("/session", json={"key": made(services).text}, headers=ended)
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "__Host-harmonicdet"
    shown = {"Cookie": f"{name}={rest.partition(';')[0]}"}
    assert client.get("/v1/me", headers=shown | ended).status_code == 200
    problem(client.get("/v1/me", headers=shown), 401, "key_missing")


def test_a_key_that_is_none_does_not_sign_in(client: TestClient, services: Services) -> None:
    for text in ("", "hd_0123456789_" + "A" * 43, made(services).text[:-1] + "-", "é" * 20):
        problem(client.post("/session", json={"key": text}, headers=OWN), 401, "key_invalid")
    assert "harmonicdet" not in client.cookies


@pytest.mark.parametrize(
    "from_elsewhere",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "null", "Host": ""},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
def test_another_site_cannot_use_the_cookie_nor_sign_in_or_out(
    client: TestClient, services: Services, from_elsewhere: dict[str, str]
) -> None:
    key = made(services)
    problem(client.post("/session", json={"key": key.text}, headers=from_elsewhere), 403, "cross_site")
    signed_in(client, key)
    problem(client.delete("/session", headers=from_elsewhere), 403, "cross_site")
    body = {"name": "n", "scopes": ["read"]}
    problem(client.post("/v1/keys", json=body, headers=from_elsewhere), 403, "cross_site")
    assert len(client.get("/v1/keys").json()["data"]) == 1
    # A key that is shown as keys are is nothing that a browser sends by itself.
    shown = from_elsewhere | {"Authorization": f"Bearer {key.text}"}
    assert client.post("/v1/keys", json=body, headers=shown).status_code == 201


def test_the_origin_of_the_page_itself_is_enough_where_the_browser_tells_no_more(
    client: TestClient, services: Services
) -> None:
    signed_in(client, made(services))
    own = {"Origin": "http://localhost"}
    assert client.post("/v1/keys", json={"name": "n", "scopes": ["read"]}, headers=own).status_code == 201


def test_the_cookie_allows_what_the_key_does(client: TestClient, services: Services) -> None:
    signed_in(client, made(services, Scope.READ))
    assert client.get("/v1/jobs").status_code == 200
    body = {"name": "n", "scopes": ["read"]}
    problem(client.post("/v1/keys", json=body, headers=OWN), 403, "scope_missing")


def test_the_cookie_ends_with_the_key(client: TestClient, services: Services) -> None:
    key = made(services)
    signed_in(client, key)
    assert client.get("/v1/me").status_code == 200
    services.database.run(lambda s: keys.revoke(s, DEFAULT_PROJECT, key.row.id))
    problem(client.get("/v1/me"), 401, "key_missing")
    problem(client.get("/v1/jobs/job_01jz4m8x0v3s7q9k2b5c6d7e8f"), 401, "key_missing")


def test_a_cookie_that_was_made_up_or_is_over_is_none(client: TestClient, services: Services) -> None:
    key, other = made(services), made(services)
    assert services.secret is not None
    now = int(time.time())

    def told(prefix: str, digest: str, until: int, secret: bytes = services.secret) -> int:
        client.cookies.clear()
        client.cookies.set(session.COOKIE, session.token(secret, prefix, digest, until))
        return client.get("/v1/me").status_code

    assert told(key.row.prefix, key.row.digest, now + 60) == 200
    assert told(key.row.prefix, key.row.digest, now - 1) == 401
    assert told(key.row.prefix, other.row.digest, now + 60) == 401
    assert told(key.row.prefix, key.row.digest, now + 60, b"1" * 32) == 401
    good = session.token(services.secret, key.row.prefix, key.row.digest, now + 60)
    for bad in (good.replace(f".{now + 60}.", f".{now + 61}."), good[:-1], "", "a.b.c", key.text):
        client.cookies.clear()
        client.cookies.set(session.COOKIE, bad)
        assert client.get("/v1/me").status_code == 401


def test_signing_out_takes_the_cookie_away(client: TestClient, services: Services) -> None:
    signed_in(client, made(services))
    assert client.delete("/session", headers=OWN).status_code == 204
    problem(client.get("/v1/me"), 401, "key_missing")


def test_a_person_signs_in_sees_the_project_and_signs_out(chromium: Browser, server: Served) -> None:
    key = made(server.services)
    with seen(chromium, server) as one:
        page = one.page
        page.goto(f"{one.base}/jobs?kind=train")
        page.wait_for_url("**/sign-in?next=*")
        page.get_by_label("API key").fill("hd_0000000000_nothing")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("unknown")
        one.look("sign-in")
        one.expected("401")  # the browser logs each refusal
        page.get_by_label("API key").fill(key.text)
        page.keyboard.press("Enter")
        page.wait_for_url("**/jobs?kind=train")
        expect(page.locator(".project")).to_have_text("default")
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        assert page.context.cookies() == []


def test_where_no_key_is_needed_another_site_still_changes_nothing(settings: Settings) -> None:
    from api.app import create_app

    with TestClient(
        create_app(settings.model_copy(update={"require_keys": False})), base_url="http://localhost"
    ) as client:
        body = {"name": "n", "scopes": ["read"]}
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        problem(client.post("/v1/keys", json=body, headers=elsewhere), 403, "cross_site")
        assert client.post("/v1/keys", json=body).status_code == 201  # a program
        assert client.post("/v1/keys", json=body, headers=OWN).status_code == 201
