"""The watch over all answers sees one that is not declared."""

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.api.declared import Watch


def test_an_answer_that_the_description_lacks_is_seen(app: FastAPI, watch: Watch) -> None:
    operation = app.openapi()["paths"]["/v1/jobs/{job_id}"]["get"]
    del operation["responses"]["404"]["content"]["application/problem+json"]["examples"]["job_not_found"]
    with TestClient(app, base_url="http://localhost") as client:
        client.get("/v1/jobs/job_01jz4m9a6hcy0p3t1w5x7z9b2d")
        client.get("/v1/nothing")
    assert watch.undeclared == ["get_job: 404 job_not_found"]
    watch.undeclared.clear()


def test_a_declared_answer_is_noted_by_its_code(client: TestClient, watch: Watch) -> None:
    client.get("/v1/jobs/job_01jz4m9a6hcy0p3t1w5x7z9b2d")
    client.get("/v1/jobs")
    assert watch.seen == {("get_job", "job_not_found")}
