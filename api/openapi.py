"""The OpenAPI description is the contract: every error declared as a problem, an example on every body."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api import access
from api.access import KeyInvalid, KeyMissing, ScopeMissing
from api.errors import MEDIA_TYPE, Invalid, phrase, status_of
from api.idempotency import REPLAYED
from api.origin import CHANGES, CrossSite, HostUnknown
from api.rates import RateLimited
from api.schemas import comparisons, datasets, evaluations, jobs, models, searches, uploads
from api.schemas.common import Problem, Shape
from store.errors import BlobsUnavailable, IdempotencyMismatch, RequestInProgress, Unavailable

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = """\
Upload a dataset, ask for a training, watch it, read its mAP, and send images to the trained model.

Every object has `id`, `object`, `created_at` and `metadata`; times are UTC (RFC 3339); lists are pages, to be
followed with `after`. Every error is an `application/problem+json` (RFC 9457): programs look at its `code`,
people at its `detail`. Every answer carries `X-Request-ID`.
"""
TAGS = [
    {"name": "datasets", "description": "Immutable, validated sets of images and boxes."},
    {"name": "uploads", "description": "Large archives in parts (tus 1.0), over any number of connections."},
    {"name": "architectures", "description": "Detectors that can be trained, and their options."},
    {"name": "jobs", "description": "Asynchronous work: its status, events, metrics and logs."},
    {"name": "models", "description": "Trained detectors and their files, and imported weights."},
    {
        "name": "model aliases",
        "description": "Names such as `production`, which mean one model now and may mean another one later.",
    },
    {
        "name": "evaluations",
        "description": "Models, or detections of any program, measured on a split of a dataset.",
    },
    {
        "name": "comparisons",
        "description": "Whether one way of training is better than another: the same trainings with several "
        "configs and seeds, and how sure their differences are.",
    },
    {
        "name": "searches",
        "description": "Which hyper-parameters give the best detector: trainings one after another, each "
        "drawn in the knowledge of those before it.",
    },
    {"name": "predictions", "description": "Detections on images."},
    {
        "name": "webhooks",
        "description": "Who is told when something happens, signed as Standard Webhooks says.",
    },
    {"name": "keys", "description": "Who may ask: API keys, their scopes, the project they belong to."},
    {"name": "system", "description": "Whether the service is there."},
]
# What an answer shows where it is not the example of its shape.
_OWN_EXAMPLES = {
    ("create_dataset", "202"): datasets.NEW_EXAMPLE,
    ("create_upload", "201"): uploads.NEW_EXAMPLE,
    ("create_job", "202"): jobs.NEW_EXAMPLE,
    ("create_evaluation", "202"): evaluations.NEW_EXAMPLE,
    ("create_comparison", "202"): comparisons.NEW_EXAMPLE,
    ("create_search", "202"): searches.NEW_EXAMPLE,
    ("create_model", "201"): models.IMPORTED_EXAMPLE,
}
BINARY = {"type": "string", "format": "binary"}


class InternalError(Exception):
    """Something went wrong on our side. The server's log tells what, under this request_id."""

    code = "internal_error"


def header(name: str, description: str) -> dict[str, Any]:
    """A header of an answer, for the `headers` of a response."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def location(what: str) -> dict[str, Any]:
    """`Location` of an answer that tells of something new."""
    return header("Location", f"Path of the {what}.")


def problems(*errors: type[Exception], also: Responses | None = None) -> Responses:
    """`responses` of a route that may end in these errors, one example each, and `also` in these answers."""
    grouped: dict[int, list[type[Exception]]] = defaultdict(list)
    for error in errors:
        grouped[status_of(error)].append(error)
    answers = dict(also or {})
    for status, several in sorted(grouped.items()):
        answers[status] = _problem_response(status, several)
    return answers


def _problem_response(status: int, errors: list[type[Exception]]) -> dict[str, Any]:
    examples = {}
    for error in errors:
        detail = " ".join((error.__doc__ or "").split())
        code: str = vars(error)["code"]  # every error that reaches a client names its own
        examples[code] = {"summary": detail, "value": _example(status, code, detail)}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}}
    return {"description": phrase(status), "content": content}


def _example(status: int, code: str, detail: str) -> dict[str, Any]:
    value = {
        "type": "about:blank",
        "title": phrase(status),
        "status": status,
        "detail": detail,
        "code": code,
        "instance": "/v1/…",
        "request_id": "req_01jz4m8x0v3s7q9k2b5c6d7e8f",
    }
    if code == Invalid.code:
        value["detail"] = "/config/epochs: Input should be greater than or equal to 1"
        value["errors"] = [
            {
                "pointer": "/config/epochs",
                "code": "greater_than_equal",
                "detail": "Input should be greater than or equal to 1",
            }
        ]
    return value


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of `app`, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        _add_components(schema)
        for path in schema["paths"].values():
            for method, operation in path.items():
                _finish(method, operation, schema["components"]["schemas"])
        app.openapi_schema = schema
    return app.openapi_schema


def _add_components(schema: dict[str, Any]) -> None:
    components = schema.setdefault("components", {})
    _, definitions = models_json_schema(
        # Named by hand in a description, so that FastAPI does not know them.
        [
            (Problem, "serialization"),
            (datasets.DatasetFromUpload, "validation"),
            (evaluations.EvaluationCreate, "validation"),
            (evaluations.DetectionsFile, "serialization"),
            (evaluations.GroundTruthFile, "serialization"),
            (comparisons.ComparisonReport, "serialization"),
            (models.ModelFile, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    components.setdefault("schemas", {}).update(definitions["$defs"])
    # FastAPI leaves out whatever is null, in examples too.
    for shape in _every_shape(Shape):
        extra = shape.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and shape.__name__ in components["schemas"]:
            components["schemas"][shape.__name__].update(extra)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`hd_…`). Not needed where only its own machine reaches the service.",
        }
    }
    components["headers"] = {
        "X-Request-ID": {
            "description": "The request's id: the client's own when it sent a plain one.",
            "schema": {"type": "string"},
            "example": "req_01jz4m8x0v3s7q9k2b5c6d7e8f",
        },
        REPLAYED: {
            "description": "`true`: nothing was done now; this is the answer to the first request with this "
            "Idempotency-Key.",
            "schema": {"type": "string", "enum": ["true"]},
        },
    }


def _every_shape(shape: type[Shape]) -> Iterator[type[Shape]]:
    for below in shape.__subclasses__():
        yield below
        yield from _every_shape(below)


def _finish(method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    declared = responses.get("422", {}).get("content", {})
    if "application/json" in declared:  # FastAPI's own, put there for every operation with parameters
        responses.pop("422")
    everywhere: list[type[Exception]] = [Invalid, InternalError, Unavailable, BlobsUnavailable]
    if operation["operationId"] in access.SCOPES:
        operation["security"] = [{"key": [access.SCOPES[operation["operationId"]].value]}]
        everywhere += [KeyMissing, KeyInvalid, ScopeMissing, HostUnknown, RateLimited]
        if method in CHANGES:
            everywhere.append(CrossSite)
    else:
        operation["security"] = []
    is_done_once = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", []))
    if is_done_once:
        everywhere += [IdempotencyMismatch, RequestInProgress]
    for error in everywhere:
        if error is Invalid and not (operation.get("parameters") or operation.get("requestBody")):
            continue
        status = str(status_of(error))
        made = _problem_response(int(status), [error])
        if status in responses:
            responses[status]["content"][MEDIA_TYPE]["examples"].update(
                made["content"][MEDIA_TYPE]["examples"]
            )
        else:
            responses[status] = made
    operation["responses"] = dict(sorted(responses.items()))
    for status, response in responses.items():
        own = _OWN_EXAMPLES.get((operation["operationId"], status))
        if own is not None:
            response["content"]["application/json"]["example"] = own
        headers = response.setdefault("headers", {})
        headers["X-Request-ID"] = {"$ref": "#/components/headers/X-Request-ID"}
        if is_done_once and status.startswith("2"):
            headers[REPLAYED] = {"$ref": f"#/components/headers/{REPLAYED}"}
        _add_examples(response.get("content", {}), schemas)
    _add_examples(operation.get("requestBody", {}).get("content", {}), schemas)


def _add_examples(content: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Show the schema's examples at the body itself, where readers and tools look for them."""
    for media in content.values():
        if "example" in media or "examples" in media:
            continue
        schema = media.get("schema", {})
        choices = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
        names = [str(part.get("$ref", "")).rpartition("/")[2] for part in (schema, *choices)]
        examples = [example for name in names for example in schemas.get(name, {}).get("examples", [])]
        for number, example in enumerate(examples, start=1):
            media.setdefault("examples", {})[f"example {number}"] = {"value": example}
