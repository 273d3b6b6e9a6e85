"""Without keys: whose pages may ask, told by the name that they ask for."""

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.origin import is_local_name
from api.services import Services
from api.settings import Settings
from store import keys, projects
from store.keys import Scope
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import problem

ELSEWHERE = {"Host": "rebound.example:8000"}


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LocalHost:8000",
        b"api.localhost:8000",
        b"127.0.0.1:8000",
        b"127.9.9.9",
        b"192.168.1.5:80",
        b"[::1]:8000",
        b"[::1]",
        b"",
    ],
)
def test_localhost_and_addresses_are_local_names(host: bytes) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize(
    "host",
    [
        b"rebound.example",
        b"rebound.example:8000",
        b"localhost.example",
        b"localhostile",
        b"127.0.0.1.example:8000",
        b"7f000001.rebound.example",
        b"[::1].example",
        b"[::1",
        b"0x7f.1",
        b"\xff",
    ],
)
def test_a_name_that_somebody_may_have_bought_is_none(host: bytes) -> None:
    assert not is_local_name(host)


def test_a_page_that_made_its_name_point_here_reads_and_changes_nothing(client: TestClient) -> None:
    assert client.get("/v1/jobs").status_code == 200
    answer = problem(client.get("/v1/jobs", headers=ELSEWHERE), 403, "host_unknown")
    assert "HARMONICDET_ALLOW_UNAUTHENTICATED" in answer["title"] + answer["detail"]
    body = {"name": "n", "scopes": ["read"]}
    # To the browser it is that page's own site.
    own = ELSEWHERE | {"Sec-Fetch-Site": "same-origin", "Origin": "http://rebound.example:8000"}
    problem(client.post("/v1/keys", json=body, headers=own), 403, "host_unknown")
    assert client.get("/v1/keys").json()["data"] == []


def test_whoever_shows_a_key_may_use_any_name(client: TestClient, services: Services) -> None:
    assert services.secret is not None
    with services.database.begin() as database:
        key = keys.create(
            database,
            secret=services.secret,
            project_id=projects.ensure(database, DEFAULT_PROJECT).id,
            name="n",
            scopes=(Scope.READ,),
        )
    shown = ELSEWHERE | {"Authorization": f"Bearer {key.text}"}
    assert client.get("/v1/jobs", headers=shown).status_code == 200


def test_where_something_else_guards_the_door_it_chooses_the_name(settings: Settings) -> None:
    guarded = settings.model_copy(update={"allow_unauthenticated": True})
    with TestClient(create_app(guarded)) as client:
        assert client.get("/v1/jobs", headers=ELSEWHERE).status_code == 200
