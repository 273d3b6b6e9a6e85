"""Evaluations: asked for, measured by what a worker's child writes, read in every way, deleted."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.services import Services
from api.settings import Settings
from detector.data.records import Annotation, Category, DatasetIndex, ImageRecord
from store import evaluations, jobs, models
from store.models import NewArtifact, NewEvaluation, NewModel
from tests.api.helpers import ABSENT, SUMMARY, claimed, hints, problem, rejected, stored_files
from tests.api.tiny_model import CARD, tiny_model

INDEX = DatasetIndex(
    "coco",
    [Category(7, "red"), Category(40, "green")],
    [
        ImageRecord(4, "a.png", "val", 64, 64, [Annotation(1, 7, (8, 8, 40, 40), 1024)]),
        ImageRecord(5, "b.png", "val", 64, 64, [Annotation(2, 40, (0, 0, 20, 20), 400)]),
        ImageRecord(6, "c.png", "val", 64, 64),
    ],
)
FOUND = [
    {"image_id": 4, "category_id": 7, "bbox": [8, 8, 32, 32], "score": 0.9},
    {"image_id": 5, "category_id": 7, "bbox": [0, 0, 20, 20], "score": 0.6},
    {"image_id": 6, "category_id": 40, "bbox": [1, 1, 9, 9], "score": 0.2},
]
RESULTS = json.dumps(FOUND).encode()


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a real evaluation, in a process of its own as in a worker."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "index.json").write_bytes(msgspec.json.encode(INDEX))
    (folder / "detections.json").write_bytes(RESULTS)
    arguments = ["--index", "index.json", "--detections", "detections.json", "--run", "run"]
    subprocess.run(
        [sys.executable, "-m", "detector", "evaluate", *arguments, "--score-threshold", "0.5"],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    return folder / "run"


def new_files(services: Services, run: Path) -> list[NewArtifact]:
    """The run's files, in the blobs."""
    result = json.loads((run / "result.json").read_bytes())
    files = []
    for one in result["artifacts"]:
        blob = services.blobs.put_bytes((run / one["path"]).read_bytes())
        files.append(NewArtifact(one["name"], one["media_type"], blob.key, blob.sha256, blob.bytes))
    return files


def finish(services: Services, evaluation: dict[str, Any], run: Path) -> None:
    """What a worker does at the end."""
    claim, result = claimed(services, evaluation["job_id"]), json.loads((run / "result.json").read_bytes())
    files = new_files(services, run)
    services.database.run(
        lambda session: evaluations.finish(
            session, claim, metrics=result["metrics"], per_class=result["per_class"], files=files
        )
    )


def upload(client: TestClient, dataset: str, data: bytes = RESULTS, **fields: str) -> Response:
    answer: Response = client.post(
        "/v1/evaluations",
        files={"file": ("results.json", io.BytesIO(data), "application/json")},
        data={"dataset_id": dataset} | {name: value for name, value in fields.items() if name != "key"},
        headers={"Idempotency-Key": fields["key"]} if "key" in fields else {},
    )
    return answer


def made(answer: Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/evaluations/{body['id']}"
    return body


@pytest.fixture
def finished(client: TestClient, services: Services, ready: dict[str, Any], measured: Path) -> str:
    """Path of an evaluation of detections."""
    body = made(upload(client, ready["id"], score_threshold="0.5"))
    finish(services, body, measured)
    return f"/v1/evaluations/{body['id']}"


# Asking


def test_a_model_is_evaluated_by_a_job_of_its_own(
    client: TestClient, settings: Settings, model: str, ready: dict[str, Any]
) -> None:
    before = hints(settings)
    asked = {"model": model, "dataset_id": ready["id"], "metadata": {"a": "b"}, "precision": 0.8}
    body = made(client.post("/v1/evaluations", json=asked))
    assert (body["status"], body["source"], body["split"]) == ("queued", "model", "val")
    assert (body["model_id"], body["dataset_id"]) == (model, ready["id"])
    assert (body["precision"], body["metrics"], body["metadata"]) == (0.8, None, {"a": "b"})
    job = client.get(f"/v1/jobs/{body['job_id']}").json()
    assert (job["kind"], job["evaluation_id"], job["status"]) == ("evaluate", body["id"], "queued")
    queues = [queue for queue, _ in hints(settings) - before]
    assert queues == ["evaluate"]
    assert client.get(f"/v1/evaluations/{body['id']}").json()["bbox"] is None


def test_a_model_may_be_named_by_its_alias(client: TestClient, model: str, ready: dict[str, Any]) -> None:
    assert client.put("/v1/model-aliases/best", json={"model_id": model}).status_code == 201
    asked = {"model": "best", "dataset_id": ready["id"]}
    assert made(client.post("/v1/evaluations", json=asked))["model_id"] == model
    problem(client.post("/v1/evaluations", json=asked | {"model": "worst"}), 404, "model_not_found")


def test_an_evaluation_may_be_asked_for_as_a_job(
    client: TestClient, settings: Settings, model: str, ready: dict[str, Any]
) -> None:
    before = hints(settings)
    asked = {"kind": "evaluate", "model": model, "dataset_id": ready["id"], "precision": 0.8, "priority": 3}
    answer = client.post("/v1/jobs", json=asked, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["status"], job["priority"]) == ("evaluate", "queued", 3)
    evaluation = client.get(f"/v1/evaluations/{job['evaluation_id']}").json()
    assert (evaluation["job_id"], evaluation["model_id"], evaluation["split"]) == (job["id"], model, "val")
    assert evaluation["precision"] == 0.8
    queues = [queue for queue, _ in hints(settings) - before]
    assert queues == ["evaluate"]
    again = client.post("/v1/jobs", json=asked, headers={"Idempotency-Key": "k"})
    assert (again.json(), again.headers["idempotent-replayed"]) == (job, "true")
    assert len(client.get("/v1/jobs?kind=evaluate").json()["data"]) == 1


def test_a_dry_run_of_an_evaluation_makes_nothing_and_says_what_it_would_measure(
    client: TestClient, services: Services, model: str, ready: dict[str, Any]
) -> None:
    asked = {"kind": "evaluate", "model": model, "dataset_id": ready["id"]}
    answer = client.post("/v1/jobs?dry_run=true", json=asked)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "object": "job_plan",
            "kind": "evaluate",
            "dataset_id": ready["id"],
            "dataset_status": "ready",
            "model_id": model,
            "split": "val",
            "images": SUMMARY["splits"]["val"]["images"],
        },
    )
    assert client.get("/v1/jobs?kind=evaluate").json()["data"] == []
    wrong = client.post("/v1/jobs?dry_run=true", json=asked | {"split": "night"})
    assert problem(wrong, 422, "validation_failed")["errors"][0]["pointer"] == "/split"
    problem(client.post("/v1/jobs?dry_run=true", json=asked | {"model": "no"}), 404, "model_not_found")


def test_a_job_has_no_fields_of_another_kind(client: TestClient, model: str, ready: dict[str, Any]) -> None:
    asked = {"kind": "evaluate", "model": model, "dataset_id": ready["id"], "config": {"epochs": 1}}
    body = problem(client.post("/v1/jobs", json=asked), 422, "validation_failed")
    assert [(one["pointer"], one["code"]) for one in body["errors"]] == [("/config", "extra_forbidden")]


def test_detections_come_as_they_are_and_a_repeat_is_the_same_evaluation(
    client: TestClient, ready: dict[str, Any]
) -> None:
    answer = upload(client, ready["id"], split="val", metadata='{"who": "us"}', key="k")
    body = made(answer)
    assert (body["source"], body["model_id"], body["metadata"]) == ("detections", None, {"who": "us"})
    again = upload(client, ready["id"], split="val", metadata='{"who": "us"}', key="k")
    assert again.json() == body
    assert again.headers["idempotent-replayed"] == "true"
    problem(upload(client, ready["id"], b"[]", split="val", key="k"), 422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"model": None}, "/model"),
        ({"dataset_id": ""}, "/dataset_id"),
        ({"split": "night"}, "/split"),
        ({"score_threshold": "high"}, "/score_threshold"),
        ({"score_threshold": 1e31}, "/score_threshold"),
        ({"precision": 0}, "/precision"),
        ({"precision": 1.5}, "/precision"),
        ({"priority": 101}, "/priority"),
        ({"metadata": {"a": 1}}, "/metadata/a"),
        ({"epochs": 3}, "/epochs"),
    ],
)
def test_what_is_asked_wrongly_is_named(
    client: TestClient, model: str, ready: dict[str, Any], asked: dict[str, Any], pointer: str
) -> None:
    body = {"model": model, "dataset_id": ready["id"]} | asked
    answer = client.post("/v1/evaluations", json=body)
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == pointer
    assert client.get("/v1/evaluations?status=queued").json()["data"] == []


@pytest.mark.parametrize("text", [b"", b"{", b'{"model": NaN}', b"\xff", b"[" * 5000])
def test_a_body_that_is_no_json_is_refused(client: TestClient, text: bytes) -> None:
    answer = client.post("/v1/evaluations", content=text, headers={"Content-Type": "application/json"})
    problem(answer, 400, "body_malformed")


def test_a_dataset_has_to_be_ready_and_to_know_a_class(
    client: TestClient, services: Services, model: str, ready: dict[str, Any]
) -> None:
    def ask(dataset: str, model: str = model) -> Response:
        answer: Response = client.post("/v1/evaluations", json={"model": model, "dataset_id": dataset})
        return answer

    other = client.post(
        "/v1/datasets?name=other", content=b"PK other", headers={"Content-Type": "application/zip"}
    ).json()
    problem(ask(other["id"]), 409, "dataset_not_ready")
    problem(upload(client, other["id"]), 409, "dataset_not_ready")
    rejected(services, other)
    problem(ask(other["id"]), 409, "dataset_invalid")
    problem(ask(f"ds_{ABSENT}"), 404, "dataset_not_found")
    problem(ask(ready["id"], f"mdl_{ABSENT}"), 404, "model_not_found")
    with services.database.begin() as session:
        models.get(session, "prj_default", model).classes = [{"id": 1, "name": "Red"}]
    assert problem(ask(ready["id"]), 422, "validation_failed")["errors"][0]["code"] == "classes_differ"


@pytest.mark.parametrize(
    ("data", "fields", "pointer"),
    [
        (b"", {}, "form:file"),
        (b'{"images": []}', {}, "form:file"),
        (b" \n nonsense", {}, "form:file"),
        (RESULTS, {"split": "night"}, "form:split"),
        (RESULTS, {"metadata": "{"}, "form:metadata"),
        (RESULTS, {"score_threshold": "nan"}, "form:score_threshold"),
        (RESULTS, {"precision": "2"}, "form:precision"),
        (RESULTS, {"model": "production"}, "form:model"),
    ],
)
def test_a_form_that_is_wrong_is_named_and_leaves_nothing(
    client: TestClient, ready: dict[str, Any], data: bytes, fields: dict[str, str], pointer: str
) -> None:
    answer = upload(client, ready["id"], data, **fields)
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == pointer
    assert client.get("/v1/evaluations").json()["data"] == []


def test_a_form_has_one_file_of_bounded_size(
    client: TestClient, settings: Settings, ready: dict[str, Any], app: Any
) -> None:
    before = stored_files(settings)
    two = [("file", ("a.json", b"[]")), ("file", ("b.json", b"[]"))]
    answer = client.post("/v1/evaluations", files=two, data={"dataset_id": ready["id"]})
    assert problem(answer, 422, "validation_failed")["errors"][0]["code"] == "duplicate"
    large = b"[" + b" " * (settings.detections_limit_bytes + 1_100_000)
    problem(upload(client, ready["id"], large), 413, "body_too_large")
    answer = client.post("/v1/evaluations", content=b"[]", headers={"Content-Type": "application/zip"})
    problem(answer, 415, "media_type_unsupported")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(client.post("/v1/evaluations", content=b"--x\r\n", headers=form), 400, "body_malformed")
    assert stored_files(settings) == before


# Reading


def test_a_finished_evaluation_tells_every_measure(client: TestClient, finished: str) -> None:
    answer = client.get(finished)
    body = answer.json()
    assert (body["status"], body["finished_at"] is not None) == ("succeeded", True)
    assert body["metrics"]["AP"] == body["bbox"]["metrics"]["AP"] == pytest.approx(0.5)
    assert list(body["bbox"]["AP_by_iou"])[::9] == ["0.50", "0.95"]
    assert [(one["name"], one["AP"]) for one in body["bbox"]["per_class"]] == [
        ("red", pytest.approx(1.0)),
        ("green", 0.0),
    ]
    assert body["voc"]["11_points"]["mAP"] == pytest.approx(0.5)
    assert body["voc"]["area"]["mAP"] == pytest.approx(0.5)
    assert {one["group"] for one in body["slices"]} == {"size", "elongation"}
    assert body["consistency"]["matched"] == 1
    assert (body["images"], body["objects"], body["detections"], body["segm"]) == (3, 2, 3, None)
    same = client.get(finished, headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_the_parts_of_the_report_agree(client: TestClient, finished: str) -> None:
    confusion = client.get(f"{finished}/confusion-matrix").json()
    assert [one["name"] for one in confusion["classes"]] == ["red", "green"]
    assert (confusion["matrix"], confusion["score_threshold"]) == ([[1, 0, 0], [1, 0, 0], [0, 0, 0]], 0.5)
    curves = client.get(f"{finished}/pr-curves").json()
    assert (len(curves["recall"]), [one["id"] for one in curves["data"]]) == (101, [7, 40])
    assert list(curves["data"][0]["by_iou"]) == ["0.50", "0.75", "0.90"]
    one = client.get(f"{finished}/pr-curves?category_id=40").json()
    assert [curve["id"] for curve in one["data"]] == [40]
    problem(client.get(f"{finished}/pr-curves?region=segm"), 404, "evaluation_file_not_found")
    sweep = client.get(f"{finished}/threshold-sweep").json()
    assert len(sweep["thresholds"]) == len(sweep["all"]["f1"]) == 101
    point = sweep["operating_points"]["best_f1"]["all"]["chosen"]
    assert (point["hits"], point["objects"]) == (1, 2)


def test_images_tell_what_was_found_and_what_was_not(client: TestClient, finished: str) -> None:
    page = client.get(f"{finished}/images").json()
    assert page["score_threshold"] == 0.5
    right, confused, empty = page["data"]
    assert [(one["category"], one["iou"]) for one in right["true_positives"]] == [("red", 1.0)]
    assert (right["false_positives"], right["misses"]) == ([], [])
    assert [one["category"] for one in confused["false_positives"]] == ["red"]
    assert [(one["category"], one["box"]) for one in confused["misses"]] == [
        ("green", [0.0, 0.0, 20.0, 20.0])
    ]
    assert (empty["image_id"], empty["false_positives"]) == (6, [])  # its detection is below the threshold

    def ids(query: str) -> list[int]:
        answer = client.get(f"{finished}/images?{query}")
        assert answer.status_code == 200, answer.text
        return [one["image_id"] for one in answer.json()["data"]]

    assert ids("showing=mistakes") == [5]
    assert ids("showing=false_positives&score_threshold=0.1") == [5, 6]
    assert ids("showing=misses&score_threshold=0.95") == [4, 5]
    assert ids("showing=misses&category_id=7") == []
    problem(client.get(f"{finished}/images?score_threshold=nan"), 422, "validation_failed")
    first = client.get(f"{finished}/images?limit=2").json()
    assert (first["has_more"], first["last_id"]) == (True, 1)
    rest = client.get(f"{finished}/images?limit=2&after={first['last_id']}").json()
    assert (rest["has_more"], [one["id"] for one in rest["data"]]) == (False, [2])


def test_its_files_can_be_had_in_parts(client: TestClient, finished: str) -> None:
    whole = client.get(f"{finished}/detections")
    assert (whole.content, whole.headers["content-type"]) == (RESULTS, "application/json")
    truth = client.get(f"{finished}/ground-truth")
    assert {one["id"] for one in truth.json()["images"]} == {4, 5, 6}
    part = client.get(f"{finished}/detections", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, RESULTS[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{len(RESULTS)}"
    etag = part.headers["etag"]
    assert client.get(f"{finished}/detections", headers={"If-None-Match": etag}).status_code == 304
    outside = client.get(f"{finished}/detections", headers={"Range": "bytes=999999-"})
    problem(outside, 416, "range_not_satisfiable")


def test_what_is_not_there_yet_is_a_conflict(client: TestClient, model: str, ready: dict[str, Any]) -> None:
    body = made(client.post("/v1/evaluations", json={"model": model, "dataset_id": ready["id"]}))
    parts = ("confusion-matrix", "pr-curves", "threshold-sweep", "images", "detections", "ground-truth")
    for part in parts:
        problem(client.get(f"/v1/evaluations/{body['id']}/{part}"), 409, "evaluation_not_ready")
        problem(client.get(f"/v1/evaluations/evl_{ABSENT}/{part}"), 404, "evaluation_not_found")
    problem(client.get(f"/v1/evaluations/evl_{ABSENT}"), 404, "evaluation_not_found")
    problem(client.get("/v1/evaluations/nonsense"), 404, "evaluation_not_found")


def test_a_failed_one_names_each_fault(client: TestClient, services: Services, ready: dict[str, Any]) -> None:
    body = made(upload(client, ready["id"]))
    claim = claimed(services, body["job_id"])
    fault = {"pointer": "/4/score", "code": "invalid_score", "detail": "The score 'x' is no finite number."}
    error = {"type": "about:blank", "code": "results_invalid", "detail": "…", "errors": [fault]}
    services.database.run(lambda s: jobs.fail(s, claim, reason="results_invalid", error=error))
    failed = client.get(f"/v1/evaluations/{body['id']}").json()
    assert (failed["status"], failed["status_reason"]) == ("failed", "results_invalid")
    assert failed["error"]["errors"] == [fault]
    # What is no list of results is not given out as one.
    problem(client.get(f"/v1/evaluations/{body['id']}/detections"), 409, "evaluation_not_ready")


def test_those_of_trainings_are_seen_through_the_same_routes(
    client: TestClient, services: Services, job: dict[str, Any], measured: Path, finished: str
) -> None:
    result = json.loads((measured / "result.json").read_bytes())
    claim = claimed(services, job["id"])
    graph = services.blobs.put_bytes(tiny_model())
    new = NewModel(
        name="m",
        architecture=CARD["architecture"],
        loss="harmonic",
        classes=CARD["classes"],
        config={},
        metrics=result["metrics"],
        artifacts=[
            NewArtifact("model.onnx", "application/octet-stream", graph.key, graph.sha256, graph.bytes),
            *new_files(services, measured),
        ],
        evaluation=NewEvaluation("val", result["metrics"], result["per_class"]),
    )
    made_model = services.database.run(lambda s: models.finish_training(s, claim, model=new).id)
    (own,) = client.get(f"/v1/evaluations?model_id={made_model}").json()["data"]
    assert (own["source"], own["status"], own["job_id"]) == ("training", "succeeded", job["id"])
    assert client.get(f"/v1/models/{made_model}").json()["evaluation"]["id"] == own["id"]
    assert client.get(f"/v1/jobs/{job['id']}").json()["evaluation_id"] == own["id"]
    for part in ("confusion-matrix", "pr-curves", "threshold-sweep", "images"):
        theirs, mine = (
            client.get(f"{path}/{part}").json() for path in (f"/v1/evaluations/{own['id']}", finished)
        )
        assert theirs | {"evaluation_id": ""} == mine | {"evaluation_id": ""}, part
    assert client.get(f"/v1/evaluations/{own['id']}").json()["bbox"] == client.get(finished).json()["bbox"]


def test_one_of_an_earlier_version_has_its_numbers_but_no_report(client: TestClient, model: str) -> None:
    (own,) = client.get(f"/v1/evaluations?model_id={model}").json()["data"]
    body = client.get(f"/v1/evaluations/{own['id']}").json()
    assert (body["metrics"]["AP"], body["bbox"]) == (0.5, None)
    answer = client.get(f"/v1/evaluations/{own['id']}/images")
    problem(answer, 404, "evaluation_file_not_found")


# Listing and deleting


def test_lists_are_filtered_and_paged(client: TestClient, model: str, ready: dict[str, Any]) -> None:
    of_model = made(client.post("/v1/evaluations", json={"model": model, "dataset_id": ready["id"]}))["id"]
    given = made(upload(client, ready["id"], metadata='{"who": "us"}'))["id"]

    def ids(query: str) -> list[str]:
        return [one["id"] for one in client.get(f"/v1/evaluations?{query}").json()["data"]]

    assert ids("")[:2] == [given, of_model]
    assert ids("order=asc")[1:] == [of_model, given]
    assert ids(f"model_id={model}&status=queued") == [of_model]
    assert ids(f"dataset_id={ready['id']}&limit=1&after={given}") == [of_model]
    assert ids("metadata%5Bwho%5D=us") == [given]
    assert ids(f"model_id=mdl_{ABSENT}") == []


def test_what_it_needs_and_itself_stay_until_its_job_has_ended(
    client: TestClient, model: str, ready: dict[str, Any]
) -> None:
    body = made(client.post("/v1/evaluations", json={"model": model, "dataset_id": ready["id"]}))
    client.delete("/v1/model-aliases/best")
    problem(client.delete(f"/v1/models/{model}"), 409, "model_in_use")
    problem(client.delete(f"/v1/datasets/{ready['id']}"), 409, "dataset_in_use")
    problem(client.delete(f"/v1/evaluations/{body['id']}"), 409, "evaluation_running")
    problem(client.post(f"/v1/jobs/{body['job_id']}/pause"), 409, "action_not_possible")
    assert client.post(f"/v1/jobs/{body['job_id']}/cancel").status_code == 202
    assert client.get(f"/v1/evaluations/{body['id']}").json()["status"] == "cancelled"
    assert client.delete(f"/v1/evaluations/{body['id']}").status_code == 204
    problem(client.get(f"/v1/evaluations/{body['id']}"), 404, "evaluation_not_found")
    problem(client.post(f"/v1/jobs/{body['job_id']}/retry"), 404, "evaluation_not_found")
    assert client.delete(f"/v1/models/{model}").status_code == 204
