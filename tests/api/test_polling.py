"""Polls of a job: the short way gives what the route gives, byte by byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.polling import Written
from api.rates import RateLimited, Rates
from api.schemas.jobs import view
from api.services import Services
from api.settings import Settings
from store import keys, projects
from store.glance import NotNow
from store.jobs import get
from store.keys import Scope
from store.overview import overview
from store.sessions import migrate
from store.tables import DEFAULT_PROJECT
from tests.api.helpers import problem
from tests.servers import PostgreSQL
from tests.store.every_job import every_job
from tests.store.helpers import change


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    url = server.new_database()
    migrate(url)
    secret = "x" * 32
    return Settings(
        **settings.model_dump(exclude={"database_url", "secret"}), database_url=url, secret=secret
    )


def written(services: Services, project: str, job_id: str) -> bytes:
    """As the rows say it."""
    with services.database.read() as session:
        row = get(session, project, job_id)
        return view(row, overview(session, row)).model_dump_json().encode()


def key_of(services: Services, project: str) -> dict[str, str]:
    assert services.secret is not None
    with services.database.begin() as session:
        text = keys.create(
            session, secret=services.secret, project_id=project, name="t", scopes=[Scope.READ]
        ).text
    return {"Authorization": f"Bearer {text}"}


class Busy:
    """A database that never answers at once."""

    async def job(self, job_id: str) -> None:
        raise NotNow

    async def key(self, prefix: str) -> None:
        raise NotNow

    async def key_and_job(self, prefix: str, job_id: str) -> tuple[None, None]:
        raise NotNow

    async def model(self, project_id: str, reference: str) -> None:
        raise NotNow

    async def close(self) -> None:
        pass


@contextmanager
def busy(app: FastAPI, services: Services) -> Iterator[None]:
    app.state.services = replace(services, glances=Busy())
    yield
    app.state.services = services


def test_every_job_is_written_as_its_rows_say(client: TestClient, services: Services) -> None:
    made = every_job(services.database)
    headers = {project: key_of(services, project) for project, _ in made.values()}
    for _ in range(2):  # written anew, and as it was kept
        for name, (project, job_id) in made.items():
            answer = client.get(f"/v1/jobs/{job_id}", headers=headers[project])
            assert answer.status_code == 200, name
            assert answer.content == written(services, project, job_id), name


def test_the_route_gives_the_same_when_the_database_is_busy(
    app: FastAPI, client: TestClient, services: Services
) -> None:
    project, job_id = every_job(services.database)["measured"]
    headers = key_of(services, project)
    path = f"/v1/jobs/{job_id}"
    known = client.get(path, headers=headers).headers["etag"]
    asked = [
        (path, headers),
        (path, headers | {"If-None-Match": known}),
        (path, headers | {"If-None-Match": f'"x", {known.removeprefix("W/")}'}),
        (path, headers | {"If-None-Match": "*"}),
        (path, headers | {"If-None-Match": '"other"'}),
        (f"{path[:-1]}x", headers),
        (path, {"Authorization": "Bearer hd_x_y"}),
        (path, {}),
    ]
    quick = [client.get(path, headers=one) for path, one in asked]
    with busy(app, services):
        slow = [client.get(path, headers=one) for path, one in asked]
    assert [answer.status_code for answer in quick] == [200, 304, 304, 304, 200, 404, 401, 200]
    varying = {"x-request-id", "ratelimit", "content-length"}
    for one, other in zip(quick, slow, strict=True):
        assert one.status_code == other.status_code
        assert {k: v for k, v in one.headers.items() if k not in varying} == {
            k: v for k, v in other.headers.items() if k not in varying
        }
        if one.status_code < 400:
            assert one.content == other.content
        else:
            same = {"request_id": None}
            assert one.json() | same == other.json() | same


def test_another_projects_job_looks_absent(client: TestClient, services: Services) -> None:
    project, job_id = every_job(services.database)["measured"]
    with services.database.begin() as session:
        other = projects.ensure(session, "another team").id
    assert project == DEFAULT_PROJECT
    problem(client.get(f"/v1/jobs/{job_id}", headers=key_of(services, other)), 404, "job_not_found")


def test_a_key_without_the_scope_learns_nothing(client: TestClient, services: Services) -> None:
    assert services.secret is not None
    with services.database.begin() as session:
        text = keys.create(
            session, secret=services.secret, project_id=DEFAULT_PROJECT, name="p", scopes=[Scope.PREDICT]
        ).text
    answer = client.get(f"/v1/jobs/job_{'0' * 26}", headers={"Authorization": f"Bearer {text}"})
    problem(answer, 403, "scope_missing")


def test_a_change_changes_the_etag_at_once(client: TestClient, services: Services) -> None:
    project, job_id = every_job(services.database)["paused"]
    path = f"/v1/jobs/{job_id}"
    known = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": known}).status_code == 304
    change(services.database, job_id, phase="exporting")
    answer = client.get(path, headers={"If-None-Match": known})
    assert (answer.status_code, answer.json()["phase"]) == (200, "exporting")
    assert answer.content == written(services, project, job_id)


def _row(name: str, size: int) -> tuple[object, ...]:
    """A job as the database gives it, whose spec is so large."""
    spec = '{"a":"' + "x" * size + '"}'
    return (
        *("prj_default", name, "train", "queued", None, None, None, None, 0, 20, 0.0, None, None),
        *(spec, None, None, 0, 1.0, None, None, "{}", 1, "worker", None, None, *[None] * 9),
    )


def test_what_was_written_is_kept_within_its_bytes() -> None:
    kept = Written(10_000)
    rows = [_row(f"job_{number}", 3000) for number in range(9)]
    for row in rows:
        assert kept.of(row) == kept.of(row)
    assert list(kept._kept) == ["job_7", "job_8"]
    assert kept._bytes == sum(len(content) for _, content, _ in kept._kept.values()) < 10_000
    content, _ = kept.of(_row("job_1", 20_000))  # larger than all that may be kept
    assert len(content) > 20_000
    assert kept._bytes == 0


def test_a_key_that_has_not_asked_for_long_is_forgotten() -> None:
    now = 0.0
    rates = Rates("2/minute", clock=lambda: now)
    assert rates.count("a")["RateLimit"] == '"key";r=1;t=60'
    now = 20.0
    assert rates.count("a")["RateLimit"] == '"key";r=0;t=40'
    with pytest.raises(RateLimited) as refused:
        rates.count("a")
    assert refused.value.headers["Retry-After"] == "40"
    now = 61.0
    assert rates.count("a")["RateLimit"] == '"key";r=0;t=19'
    now = 200.0
    rates.count("b")
    assert list(rates._asked) == ["b"]
