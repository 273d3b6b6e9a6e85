"""The client is equal to the OpenAPI description: each operation has a method that asks it with every
parameter, and understands the example of its answer; without `await` and with it.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from harmonicdet import AsyncClient, Client
from harmonicdet.client.asynchronous import uploading as awaited
from harmonicdet.client.operations import OPERATIONS
from harmonicdet.client.shape import Shape
from harmonicdet.client.synchronous import uploading
from harmonicdet.client.synchronous.pages import Pages
from tests.client import generate
from tests.client.described import DESCRIBED, DESCRIPTION, Awaited, Described

# What only browsers and other tus clients ask.
LEFT_OUT = {"describe_upload", "describe_uploads"}

DS, JOB, MDL = (
    "ds_01jz4m8x0v3s7q9k2b5c6d7e8f",
    "job_01jz4m9a6hcy0p3t1w5x7z9b2d",
    "mdl_01jz4mp2q7r9s1t3v5w7x9y1z3",
)
EVL, CMP, WHK = "evl_01jz4mp2q7r9s1t3v5w7x9y1z4", "cmp_01jz4n2c4e6g8j0m2p4r6t8v0x", "whk_1"
SRCH = "srch_01jz4p2c4e6g8j0m2p4r6t8v0x"
ALL: dict[str, Any] = {"order": "asc", "limit": 3}
TAGS = {"source": "hospital-7"}

Call = Callable[[Client, Path], object]
CALLS: dict[str, Call] = {
    "create_dataset": lambda c, _: c.datasets.upload(
        b"zip", name="cells", format="coco", on_invalid="fix", val_fraction=0.3, split_seed=1, metadata=TAGS
    ),
    "list_datasets": lambda c, _: c.datasets.list(status="ready", metadata=TAGS, **ALL),
    "get_dataset": lambda c, _: c.datasets.get(DS),
    "delete_dataset": lambda c, _: c.datasets.delete(DS),
    "get_dataset_report": lambda c, _: c.datasets.report(DS),
    "get_dataset_stats": lambda c, _: c.datasets.stats(DS),
    "list_dataset_images": lambda c, _: c.datasets.images(DS, split="val", category_id=1, findings=True),
    "get_dataset_image_content": lambda c, _: c.datasets.image(DS, 17),
    "get_dataset_image_preview": lambda c, _: c.datasets.preview(DS, 17, size=400, boxes=False),
    "create_upload": lambda c, folder: _large(c, folder),
    "append_upload": lambda c, folder: _large(c, folder),
    "head_upload": lambda c, folder: _resumed(c, folder),
    "list_uploads": lambda c, _: c.uploads.list(),
    "get_upload": lambda c, _: c.uploads.get("upl_1"),
    "delete_upload": lambda c, _: c.uploads.delete("upl_1"),
    "list_architectures": lambda c, _: c.architectures.list(),
    "get_architecture_schema": lambda c, _: c.architectures.schema("ssd300_vgg16"),
    "create_job": lambda c, _: c.plan(DS, epochs=3),
    "list_jobs": lambda c, _: c.jobs.list(status="running", kind="train", metadata=TAGS, **ALL),
    "get_job": lambda c, _: c.jobs.get(JOB),
    "cancel_job": lambda c, _: c.jobs.cancel(JOB),
    "pause_job": lambda c, _: c.jobs.pause(JOB),
    "resume_job": lambda c, _: c.jobs.resume(JOB),
    "stop_job": lambda c, _: c.jobs.stop(JOB),
    "retry_job": lambda c, _: c.jobs.retry(JOB),
    "get_job_events": lambda c, _: c.jobs.events(JOB, after=3),
    "get_job_metrics": lambda c, _: c.jobs.metrics(JOB, split="val", after=3),
    "list_job_checkpoints": lambda c, _: c.jobs.checkpoints(JOB),
    "get_job_manifest": lambda c, _: c.jobs.manifest(JOB),
    "get_job_logs": lambda c, _: c.jobs.logs(JOB),
    "create_model": lambda c, folder: c.models.import_weights(
        _file(folder), name="w", architecture="ssd300_vgg16", classes=["RBC"], metadata=TAGS
    ),
    "list_models": lambda c, _: c.models.list(dataset=DS, metadata=TAGS, **ALL),
    "get_model": lambda c, _: c.models.get("production"),
    "patch_model": lambda c, _: c.models.update(MDL, name="cells", metadata={"stage": None}),
    "delete_model": lambda c, _: c.models.delete(MDL),
    "list_artifacts": lambda c, _: c.models.artifacts(MDL),
    "get_artifact": lambda c, folder: c.models.download(MDL, "model.json", folder),
    "list_model_aliases": lambda c, _: c.aliases.list(model=MDL),
    "get_model_alias": lambda c, _: c.aliases.get("production"),
    "put_model_alias": lambda c, _: c.aliases.put("production", MDL, metadata=TAGS),
    "delete_model_alias": lambda c, _: c.aliases.delete("production"),
    "predict": lambda c, _: c.predict(
        MDL,
        b"image",
        score_threshold={"RBC": 0.4},
        operating_point="max_f1",
        max_detections=3,
        classes=["RBC", 2],
        box_format="xywh",
        masks="none",
    ),
    "create_evaluation": lambda c, _: c.evaluate(MDL, DS, split="test", precision=0.95, metadata=TAGS),
    "list_evaluations": lambda c, _: c.evaluations.list(
        model=MDL, dataset=DS, status="succeeded", metadata=TAGS, **ALL
    ),
    "get_evaluation": lambda c, _: c.evaluations.get(EVL),
    "delete_evaluation": lambda c, _: c.evaluations.delete(EVL),
    "get_confusion_matrix": lambda c, _: c.evaluations.confusion_matrix(EVL),
    "get_pr_curves": lambda c, _: c.evaluations.pr_curves(EVL, category_id=1, region="bbox"),
    "get_threshold_sweep": lambda c, _: c.evaluations.threshold_sweep(EVL),
    "get_evaluation_figure": lambda c, _: c.evaluations.figure(EVL, "pr"),
    "list_evaluation_images": lambda c, _: c.evaluations.images(
        EVL, score_threshold=0.3, showing="misses", category_id=1
    ),
    "get_evaluation_detections": lambda c, folder: c.evaluations.download_detections(EVL, folder / "d.json"),
    "get_evaluation_ground_truth": lambda c, folder: c.evaluations.download_ground_truth(
        EVL, folder / "g.json"
    ),
    "create_comparison": lambda c, _: c.compare(
        DS,
        {"a": {"loss": "baseline"}, "b": {}},
        config={"epochs": 3},
        seeds=[1, 2, 3],
        baseline="a",
        name="losses",
    ),
    "list_comparisons": lambda c, _: c.comparisons.list(dataset=DS, status="running", metadata=TAGS, **ALL),
    "get_comparison": lambda c, _: c.comparisons.get(CMP),
    "delete_comparison": lambda c, _: c.comparisons.delete(CMP),
    "get_comparison_report": lambda c, _: c.comparisons.report(CMP),
    "get_comparison_figure": lambda c, _: c.comparisons.figure(CMP, "pr"),
    "cancel_comparison": lambda c, _: c.comparisons.cancel(CMP),
    "pause_comparison": lambda c, _: c.comparisons.pause(CMP),
    "resume_comparison": lambda c, _: c.comparisons.resume(CMP),
    "retry_comparison": lambda c, _: c.comparisons.retry(CMP),
    "create_search": lambda c, _: c.search(
        DS,
        {
            "optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True},
            "batch_size": {"kind": "int", "low": 4, "high": 32, "step": 4},
            "loss": {"kind": "categorical", "choices": ["harmonic", "baseline"]},
        },
        config={"epochs": 3},
        max_trials=12,
        max_parallel=2,
        metric="AP75",
        pruning=False,
        seed=1,
        name="losses",
        metadata=TAGS,
        priority=1,
    ),
    "list_searches": lambda c, _: c.searches.list(dataset=DS, status="running", metadata=TAGS, **ALL),
    "get_search": lambda c, _: c.searches.get(SRCH),
    "delete_search": lambda c, _: c.searches.delete(SRCH),
    "cancel_search": lambda c, _: c.searches.cancel(SRCH),
    "pause_search": lambda c, _: c.searches.pause(SRCH),
    "resume_search": lambda c, _: c.searches.resume(SRCH),
    "retry_search": lambda c, _: c.searches.retry(SRCH),
    "create_webhook": lambda c, _: c.webhooks.create("https://example.org/hook", ["job.*"]),
    "list_webhooks": lambda c, _: c.webhooks.list(),
    "get_webhook": lambda c, _: c.webhooks.get(WHK),
    "delete_webhook": lambda c, _: c.webhooks.delete(WHK),
    "ping_webhook": lambda c, _: c.webhooks.ping(WHK),
    "list_webhook_deliveries": lambda c, _: c.webhooks.deliveries(WHK),
    "get_me": lambda c, _: c.me(),
    "create_key": lambda c, _: c.keys.create("ci", ["read"]),
    "list_keys": lambda c, _: c.keys.list(),
    "revoke_key": lambda c, _: c.keys.revoke("key_1"),
    "healthz": lambda c, _: c.health(),
    "readyz": lambda c, _: c.ready(),
    "get_metrics": lambda c, _: c.metrics(),
    "index": lambda c, _: c.index(),
    "list_workers": lambda c, _: c.workers.list(queue="train"),
    "drain_worker": lambda c, _: c.workers.drain("wrk_1"),
    "undrain_worker": lambda c, _: c.workers.undrain("wrk_1"),
    "get_storage": lambda c, _: c.storage.get(),
    "collect_storage": lambda c, _: c.storage.collect(dry_run=True),
}
# Parameters that cannot be given together with the others of the call above, and those of lists which have
# few items and one order.
NOT_SENT = {
    "create_model": {"backbone"},
    **{key: {"order"} for key in ("list_uploads", "list_model_aliases", "list_webhooks", "list_keys")},
    "list_webhook_deliveries": {"order"},
}


def _file(folder: Path) -> Path:
    path = folder / "weights.safetensors"
    path.write_bytes(b"weights")
    return path


def _large(client: Client | AsyncClient, folder: Path) -> object:
    if isinstance(client, AsyncClient):
        return awaited.in_parts(client.transport, _file(folder))
    return uploading.in_parts(client.transport, _file(folder))


def _resumed(client: Client, folder: Path) -> object:
    return client.transport.ask("head_upload", {"upload_id": "upl_1"}, headers={"Tus-Resumable": "1.0.0"})


def test_what_is_generated_is_what_the_description_says() -> None:
    for file, text in generate.written(DESCRIPTION).items():
        assert (generate.FOLDER / file).read_text() == text, f"{file} is old: make client"


def test_every_operation_has_a_method() -> None:
    missing = DESCRIBED.keys() - CALLS.keys() - LEFT_OUT
    assert not missing, f"the client does not cover {sorted(missing)}: add a method, and its call here"
    assert CALLS.keys() | LEFT_OUT == DESCRIBED.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_method_asks_its_operation_with_every_parameter(
    name: str, client: Client, described: Described, tmp_path: Path
) -> None:
    found = CALLS[name](client, tmp_path)
    _check(name, list(found) if isinstance(found, Pages | Iterator) else found, described)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_so_does_the_method_to_be_awaited(name: str, described: Described, tmp_path: Path) -> None:
    async def call() -> object:
        async with AsyncClient("http://service", transport=Awaited(described)) as client:
            # The calls are the same, only to be awaited.
            found = CALLS[name](cast(Client, client), tmp_path)
            if isinstance(found, AsyncIterable):
                return [one async for one in found]
            assert inspect.isawaitable(found)
            return await found

    _check(name, asyncio.run(call()), described)


def _check(name: str, found: object, described: Described) -> None:
    assert found != []
    requests = [request for asked, request in described.asked if asked == name]
    assert requests, f"asked {[asked for asked, _ in described.asked]}"
    parameters = [one for one in DESCRIBED[name][2].get("parameters", []) if one["in"] == "query"]
    sent = {key.split("[")[0] for request in requests for key in request.url.params}
    sent |= {part for part in ("name", "architecture", "classes", "metadata") if _in_form(requests[0], part)}
    wanted = {one["name"] for one in parameters} - NOT_SENT.get(name, set())
    # A second page would have it.
    assert sent - {"after"} == wanted - {"after"}
    assert "{" not in str(requests[0].url.path)
    if any(one["name"] == "Idempotency-Key" for one in DESCRIBED[name][2].get("parameters", [])):
        assert requests[0].headers["idempotency-key"]
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, Shape):
            assert one.raw
            assert repr(one)


def _in_form(request: httpx.Request, field: str) -> bool:
    return f'name="{field}"'.encode() in request.content


def test_a_body_is_one_that_the_description_allows(client: Client, described: Described) -> None:
    """Whatever the calls above send as JSON has no field that the schema does not know."""
    schemas = DESCRIPTION["components"]["schemas"]
    for name, schema in (
        ("create_job", "TrainJobCreate"),
        ("create_evaluation", "EvaluationCreate"),
        ("create_comparison", "ComparisonCreate"),
        ("create_search", "SearchCreate"),
        ("put_model_alias", "ModelAliasPut"),
        ("patch_model", "ModelPatch"),
        ("create_webhook", "WebhookCreate"),
        ("create_key", "KeyCreate"),
    ):
        CALLS[name](client, Path())
        body = json.loads(described.asked[-1][1].content)
        assert body.keys() <= schemas[schema]["properties"].keys(), name
        assert set(schemas[schema].get("required", [])) <= body.keys(), name
