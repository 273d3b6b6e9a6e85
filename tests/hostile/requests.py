"""Requests that no honest client sends, by category. Every one has to be refused with a problem that names
what is wrong.

Paths have `{dataset}`, `{job}` and `{model}` where something that exists is to be named.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.detector.data.builders import jpeg
from tests.hostile.datasets import broken_images

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=xyz"}
NO_ID = "01jz4m8x0v3s7q9k2b5c6d7e8f"


@dataclass(frozen=True)
class RequestCase:
    """A request, and the statuses that may answer it."""

    category: str
    name: str
    method: str
    path: str
    statuses: frozenset[int]
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    malformed: bool = False
    """It is no HTTP: a real server refuses it before it comes to the application."""


def request_cases() -> Iterator[RequestCase]:
    """All of them."""
    for make in (_configs, _jobs, _json, _ids, _queries, _headers, _predictions, _forms, _methods, _others):
        yield from make()


def _post(category: str, name: str, path: str, value: Any, *statuses: int) -> RequestCase:
    body = json.dumps(value).encode()
    return RequestCase(category, name, "POST", path, frozenset(statuses or (422,)), body, JSON)


def _train(config: Any) -> dict[str, Any]:
    return {"kind": "train", "dataset_id": "{dataset}", "config": config}


def _configs() -> Iterator[RequestCase]:
    wrong: dict[str, list[Any]] = {
        "epochs": [0, -1, 10_001, 1.5, "many", None, [], 10**30],
        "batch_size": [0, -8, 2000, 1.5, "8 images", None, {}],
        "warmup_steps": [-1, 0.5, "x", None],
        "clip_grad_norm": [0, -1, "x", [], 1e999],
        "ema_decay": [0, 1, 2, -1, "x", {}],
        "amp": ["fp8", "", None, 1, ["bf16"]],
        "device": ["tpu", "cuda:99", "", None, 0],
        "seed": [-1, 2**32, 1.5, "x", None],
        "train_split": ["", "x" * 21, None, 1, "nowhere"],
        "eval_split": ["", "x" * 21, None, 1, "nowhere"],
        "evaluate_every": [0, -1, 1.5, "x", None],
        "checkpoint_every_steps": [0, -1, "x"],
        "num_workers": [-1, 65, "x", None],
        "architecture": ["yolo", "", None, 1, [], {}, {"kind": None}, {"kind": "fasterrcnn"}],
        "loss": ["focal", "", None, 1, {"kind": "harmonic", "alpha": -1}, {"kind": "harmonic", "gamma": 2}],
        "optimizer": ["lion", None, {"kind": "sgd", "lr": 0}, {"kind": "sgd", "lr": "x"}, {"lr": 0.1}],
        "schedule": [
            "linear",
            None,
            {"kind": "step", "milestones": []},
            {"kind": "step", "milestones": [9, 3]},
        ],
        "augmentation": [
            None,
            "none",
            {"horizontal_flip": 2},
            {"scale_jitter": [2, 1]},
            {"scale_jitter": [0, 1]},
            {"photometric": "maybe"},
            {"rotate": True},
        ],
        "early_stopping": [{"patience": 0}, {"patience": "x"}, True, {"patience": 3, "min_delta": -1}],
        "learning_rate": [0.1],
        "__class__": ["x"],
        "": [1],
    }
    for name, values in wrong.items():
        for value in values:
            yield _post("config", f"{name} = {value!r}"[:60], "/v1/jobs", _train({name: value}))
    misfits: dict[str, dict[str, Any]] = {
        "ssdlite320_mobilenet_v3_large": {"image_size": 321},
        "ssd300_vgg16": {"trainable_backbone_layers": 3},
        "retinanet_resnet50_fpn": {"image_size": 900, "max_size": 800},
        "fcos_resnet50_fpn": {"backbone": "alexnet"},
        "refinedet320": {"initial_weights": "coco"},
        "fasterrcnn_resnet50_fpn": {"initial_weights": "https://example.org/weights.pth"},
        "fasterrcnn_resnet50_fpn_v2": {"initial_weights": "/etc/passwd"},
    }
    for kind, options in misfits.items():
        config = {"architecture": {"kind": kind} | options}
        yield _post("config", f"{kind} {options}", "/v1/jobs", _train(config))
    configs: list[Any] = [None, "harmonic", [], 7, True]
    for one in configs:
        yield _post("config", f"config = {one!r}", "/v1/jobs", _train(one))


def _jobs() -> Iterator[RequestCase]:
    right = _train({"epochs": 2})
    changes: list[dict[str, Any]] = [
        {"kind": "mine bitcoin"},
        {"kind": None},
        {"kind": ["train"]},
        {"name": ""},
        {"name": "x" * 500},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": 7},
        {"priority": 10**9},
        {"priority": "high"},
        {"priority": 1.5},
        {"metadata": "x"},
        {"metadata": {"a": 1}},
        {"metadata": {"a": None}},
        {"metadata": {"x" * 100: "a"}},
        {"metadata": {"a": "x" * 1000}},
        {"metadata": {str(n): "a" for n in range(60)}},
        {"metadata": {"a\x00": "b"}},
        {"unknown": True},
        {"status": "succeeded"},
        {"project_id": "prj_other"},
        {"id": f"job_{NO_ID}"},
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": "x"},
        {"progress_timeout_seconds": -1},
        {"progress_timeout_seconds": "x"},
    ]
    for change in changes:
        yield _post("job", json.dumps(change)[:60], "/v1/jobs", right | change)
    values: list[Any] = [None, "", "ds_x", 7, [], "../../etc/passwd", "ds_" + "0" * 1000, "{dataset}x"]
    for value in values:
        yield _post("job", f"dataset {value!r}"[:60], "/v1/jobs", right | {"dataset_id": value}, 404, 422)
    yield _post("job", "dataset that is not there", "/v1/jobs", right | {"dataset_id": f"ds_{NO_ID}"}, 404)
    for missing in right:
        body = {name: value for name, value in right.items() if name != missing}
        if missing != "config":
            yield _post("job", f"without {missing}", "/v1/jobs", body)


def _json() -> Iterator[RequestCase]:
    texts: dict[str, bytes] = {
        "empty": b"",
        "not closed": b'{"kind": "train"',
        "a list": b"[]",
        "a string": b'"train"',
        "null": b"null",
        "number": b"7",
        "NaN": b'{"kind": "train", "priority": NaN}',
        "Infinity": b'{"kind": "train", "priority": Infinity}',
        "two documents": b"{}{}",
        "not UTF-8": b'{"kind": "\xff\xfe"}',
        "UTF-16": '{"kind": "train"}'.encode("utf-16"),
        "a lone surrogate": b'{"kind": "\\ud800", "name": "\\udfff"}',
        "NUL": b'{"kind": "train\\u0000"}',
        "form": b"kind=train&dataset_id=ds_x",
        "xml": b"<job><kind>train</kind></job>",
        "deep lists": b'{"config": ' + b"[" * 9000 + b"]" * 9000 + b"}",
        "deep objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
        "a long number": b'{"priority": ' + b"9" * 5000 + b"}",
        "a key twice": b'{"kind": "train", "kind": "x", "dataset_id": "ds_x"}',
        "zeros": bytes(500),
        "too large": b'{"name": "' + b"x" * 2_000_000 + b'"}',
    }
    for path in ("/v1/jobs", "/v1/keys", "/v1/webhooks"):
        for name, body in texts.items():
            statuses = frozenset((400, 413, 422))
            yield RequestCase("JSON", f"{path} {name}", "POST", path, statuses, body, JSON)
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "", "x" * 300):
        statuses = frozenset((400, 415, 422))
        headers = {"Content-Type": kind}
        yield RequestCase("JSON", f"as {kind[:40]!r}", "POST", "/v1/jobs", statuses, b'{"kind": 1}', headers)


def _ids() -> Iterator[RequestCase]:
    ids = (
        "x",
        "%2e%2e",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cx",
        "%00",
        "job_%00",
        "' OR 1=1 --",
        "1;DROP TABLE job",
        "%F0%9F%92%A9",
        "%ff%fe",
        "null",
        "-1",
        "0",
        "x" * 3000,
        "JOB_" + NO_ID.upper(),
        f"job_{NO_ID}",
        f"ds_{NO_ID}",
        f"mdl_{NO_ID}",
        "{{}}",
        "<script>alert(1)</script>",
    )
    for collection in ("datasets", "jobs", "models"):
        for one in ids:
            path = f"/v1/{collection}/{one}"
            yield RequestCase("id", path[:60], "GET", path, frozenset((404, 405)))
        yield RequestCase(
            "id", f"DELETE {collection}", "DELETE", f"/v1/{collection}/x", frozenset((404, 405))
        )
    for tail in ("events", "metrics", "logs"):
        yield RequestCase("id", tail, "GET", f"/v1/jobs/nobody/{tail}", frozenset((404,)))
    for name in ("../model.onnx", "%2e%2e%2fmodel.onnx", "model.onnx%00", "x", "a" * 500, "%20"):
        path = f"/v1/models/{{model}}/artifacts/{name}"
        yield RequestCase("id", f"artifact {name[:40]}", "GET", path, frozenset((404,)))
    for name in ("nobody", "../x", "%00", "a" * 500):
        yield RequestCase(
            "id", f"schema {name[:40]}", "GET", f"/v1/architectures/{name}/schema", frozenset((404,))
        )


def _queries() -> Iterator[RequestCase]:
    for collection in ("datasets", "jobs", "models", "keys", "webhooks"):
        for query in (
            "limit=0",
            "limit=-1",
            "limit=101",
            "limit=x",
            "limit=1e2",
            "limit=",
            "limit=99999999999999999999",
            "after=x",
            "after=%00",
            "after='",
            "order=up",
            "order=",
        ):
            path = f"/v1/{collection}?{query}"
            yield RequestCase("query", path, "GET", path, frozenset((422,)))
    for query in ("status=done", "status=%00", "kind=x"):
        yield RequestCase("query", query, "GET", f"/v1/jobs?{query}", frozenset((422,)))
    for query in ("after=x", "after=-2", "after=2147483648", "limit=100000"):
        for tail in ("events", "metrics"):
            path = f"/v1/jobs/{{job}}/{tail}?{query}"
            yield RequestCase("query", path, "GET", path, frozenset((422,)))


def _headers() -> Iterator[RequestCase]:
    body = json.dumps(_train({"epochs": 2})).encode()
    for name, value in {"empty": "", "too long": "x" * 300}.items():
        headers = JSON | {"Idempotency-Key": value}
        yield RequestCase(
            "header", f"Idempotency-Key {name}", "POST", "/v1/jobs", frozenset((422,)), body, headers
        )
    for value in ("x", "-1", "1.5", "99999999999999999999", "\u0663".encode().decode("latin-1")):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": value}
        path = "/v1/jobs/{job}/events"
        yield RequestCase("header", f"Last-Event-ID {value}", "GET", path, frozenset((422,)), b"", headers)
    for value in ("bytes=999999999-", "bytes=-0"):
        path = "/v1/models/{model}/artifacts/model.onnx"
        yield RequestCase("header", f"Range {value}", "GET", path, frozenset((416,)), b"", {"Range": value})
    for value in (
        "Bearer",
        "Bearer x",
        "Basic eDp5",
        "Bearer " + "x" * 5000,
        "hd_x_y",
        "Bearer hd_" + "\x01",
    ):
        headers = {"Authorization": value}
        yield RequestCase(
            "header",
            f"Authorization {value[:20]!r}",
            "GET",
            "/v1/jobs",
            frozenset((401,)),
            b"",
            headers,
            malformed=not value.isprintable(),
        )


def _predictions() -> Iterator[RequestCase]:
    path = "/v1/models/{model}/predict"
    for name, data in broken_images():
        headers = {"Content-Type": "application/octet-stream"}
        yield RequestCase("prediction", name, "POST", path, frozenset((413, 422)), data, headers)
    for kind in ("text/plain", "application/json", "", "multipart/form-data", "image", "a/b/c"):
        headers = {"Content-Type": kind}
        statuses = frozenset((400, 415, 422))
        yield RequestCase("prediction", f"as {kind!r}", "POST", path, statuses, jpeg(), headers)
    for query in (
        "score_threshold=2",
        "score_threshold=-1",
        "score_threshold=nan",
        "score_threshold=inf",
        "score_threshold=x",
        "max_detections=0",
        "max_detections=-1",
        "max_detections=1000000",
        "max_detections=x",
        "classes=nobody",
        "classes=%00",
        "classes=",
        "classes=-1",
        "box_format=yx",
    ):
        headers = {"Content-Type": "image/jpeg"}
        yield RequestCase("prediction", query, "POST", f"{path}?{query}", frozenset((422,)), jpeg(), headers)
    for accept in ("video/mp4", "image/gif", "application/xml"):
        headers = {"Content-Type": "image/jpeg", "Accept": accept}
        yield RequestCase("prediction", f"for {accept}", "POST", path, frozenset((406,)), jpeg(), headers)


def _forms() -> Iterator[RequestCase]:
    part = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK\r\n'
    bodies: dict[str, bytes] = {
        "empty": b"",
        "no boundary in it": b"hello",
        "never closed": part,
        "no headers": b"--xyz\r\n\r\ndata\r\n--xyz--\r\n",
        "no name": b"--xyz\r\nContent-Disposition: form-data\r\n\r\ndata\r\n--xyz--\r\n",
        "only the end": b"--xyz--\r\n",
        "a header without an end": b"--xyz\r\nContent-Disposition: form-data; name=" + b"x" * 100_000,
        "a thousand headers": b"--xyz\r\n" + b"A: b\r\n" * 1000 + b"\r\ndata\r\n--xyz--\r\n",
        "a thousand parts": b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 1000
        + b"--xyz--\r\n",
        "NUL in the name": b'--xyz\r\nContent-Disposition: form-data; name="\0"\r\n\r\nx\r\n--xyz--\r\n',
        "bare line feeds": part.replace(b"\r\n", b"\n") + b"--xyz--\n",
        "unknown field": b'--xyz\r\nContent-Disposition: form-data; name="evil"\r\n\r\nx\r\n--xyz--\r\n',
        "binary": bytes(range(256)) * 10,
    }
    statuses = frozenset((400, 413, 422))
    for path in ("/v1/datasets", "/v1/models/{model}/predict"):
        for name, body in bodies.items():
            yield RequestCase("form", f"{path[:12]} {name}", "POST", path, statuses, body, FORM)
        for boundary in ("", "; boundary=", "; boundary=" + "x" * 500, '; boundary="a', "; boundary=\x80"):
            headers = {"Content-Type": f"multipart/form-data{boundary}"}
            name = f"{path[:12]} boundary {boundary[:20]!r}"
            yield RequestCase("form", name, "POST", path, frozenset((400, 415, 422)), part, headers)


def _methods() -> Iterator[RequestCase]:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X" * 50):
        for path in ("/v1/jobs", "/v1/datasets", "/healthz", "/v1"):
            yield RequestCase(
                "method",
                f"{method[:8]} {path}",
                method,
                path,
                frozenset((405, 400, 501)),
                malformed=method == "X" * 50,  # httptools knows every method that there is
            )
    absent = (
        "/index.html",
        "/v2/jobs",
        "/v1/users",
        "/.env",
        "/.git/config",
        "/admin",
        "/v1//jobs",
        "/v1/jobs/",
    )
    for path in absent:
        yield RequestCase("method", path, "GET", path, frozenset((404, 405)))


def _others() -> Iterator[RequestCase]:
    for scopes in ([], ["everything"], "read", None, [1], ["read"] * 10):
        yield _post("key", f"scopes {scopes}"[:50], "/v1/keys", {"name": "x", "scopes": scopes})
    for name in ("", None, 7, "x" * 500, "a\x00"):
        yield _post("key", f"name {name!r}"[:50], "/v1/keys", {"name": name, "scopes": ["read"]})
    times: list[Any] = ["tomorrow", "2026-13-45", 1e99, "2026-01-01T00:00:00", [], True]
    for expires in times:
        body = {"name": "x", "scopes": ["read"], "expires_at": expires}
        yield _post("key", f"expires {expires!r}", "/v1/keys", body)
    for url in (
        "",
        "x",
        "javascript:alert(1)",
        "https://",
        "https://localhost",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "https://a b/",
        "https://" + "x" * 3000,
        "https://\x00/",
        None,
        7,
    ):
        yield _post("webhook", f"{url!r}"[:50], "/v1/webhooks", {"url": url, "events": ["job.*"]})
    for events in ([], ["x"], "job.*", None, ["job.*"] * 30):
        yield _post(
            "webhook",
            f"events {events}"[:50],
            "/v1/webhooks",
            {"url": "https://93.184.216.34/", "events": events},
        )
