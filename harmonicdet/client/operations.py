"""What can be asked of the service, from the OpenAPI description. Written by `make client`."""

from typing import NamedTuple


class Operation(NamedTuple):
    """One way to ask."""

    method: str
    path: str
    query: tuple[str, ...]
    """Names of the parameters in the query."""
    once: bool
    """Whether an Idempotency-Key makes it harmless to ask again."""


OPERATIONS = {
    "predict": Operation(
        "POST",
        "/v1/models/{model_id}/predict",
        ("score_threshold", "operating_point", "max_detections", "classes", "box_format", "masks"),
        False,
    ),
    "create_dataset": Operation(
        "POST", "/v1/datasets", ("name", "format", "on_invalid", "split", "metadata"), True
    ),
    "list_datasets": Operation(
        "GET", "/v1/datasets", ("limit", "after", "order", "status", "metadata"), False
    ),
    "get_dataset": Operation("GET", "/v1/datasets/{dataset_id}", (), False),
    "delete_dataset": Operation("DELETE", "/v1/datasets/{dataset_id}", (), False),
    "get_dataset_report": Operation("GET", "/v1/datasets/{dataset_id}/report", ("limit", "after"), False),
    "get_dataset_stats": Operation("GET", "/v1/datasets/{dataset_id}/stats", (), False),
    "list_dataset_images": Operation(
        "GET",
        "/v1/datasets/{dataset_id}/images",
        ("limit", "after", "split", "category_id", "findings"),
        False,
    ),
    "get_dataset_image_content": Operation(
        "GET", "/v1/datasets/{dataset_id}/images/{position}/content", (), False
    ),
    "get_dataset_image_preview": Operation(
        "GET", "/v1/datasets/{dataset_id}/images/{position}/preview", ("size", "boxes"), False
    ),
    "describe_uploads": Operation("OPTIONS", "/v1/uploads", (), False),
    "create_upload": Operation("POST", "/v1/uploads", (), False),
    "list_uploads": Operation("GET", "/v1/uploads", ("limit", "after", "order"), False),
    "describe_upload": Operation("OPTIONS", "/v1/uploads/{upload_id}", (), False),
    "get_upload": Operation("GET", "/v1/uploads/{upload_id}", (), False),
    "head_upload": Operation("HEAD", "/v1/uploads/{upload_id}", (), False),
    "append_upload": Operation("PATCH", "/v1/uploads/{upload_id}", (), False),
    "delete_upload": Operation("DELETE", "/v1/uploads/{upload_id}", (), False),
    "list_architectures": Operation("GET", "/v1/architectures", (), False),
    "get_architecture_schema": Operation("GET", "/v1/architectures/{name}/schema", (), False),
    "create_job": Operation("POST", "/v1/jobs", ("dry_run",), True),
    "list_jobs": Operation(
        "GET", "/v1/jobs", ("limit", "after", "order", "status", "kind", "metadata"), False
    ),
    "get_job": Operation("GET", "/v1/jobs/{job_id}", (), False),
    "cancel_job": Operation("POST", "/v1/jobs/{job_id}/cancel", (), False),
    "pause_job": Operation("POST", "/v1/jobs/{job_id}/pause", (), False),
    "resume_job": Operation("POST", "/v1/jobs/{job_id}/resume", (), False),
    "stop_job": Operation("POST", "/v1/jobs/{job_id}/stop", (), False),
    "retry_job": Operation("POST", "/v1/jobs/{job_id}/retry", (), False),
    "get_job_events": Operation("GET", "/v1/jobs/{job_id}/events", ("limit", "after"), False),
    "get_job_metrics": Operation("GET", "/v1/jobs/{job_id}/metrics", ("limit", "after", "split"), False),
    "list_job_checkpoints": Operation("GET", "/v1/jobs/{job_id}/checkpoints", (), False),
    "get_job_manifest": Operation("GET", "/v1/jobs/{job_id}/manifest", (), False),
    "get_job_logs": Operation("GET", "/v1/jobs/{job_id}/logs", (), False),
    "create_model": Operation(
        "POST", "/v1/models", ("name", "architecture", "classes", "backbone", "metadata"), True
    ),
    "list_models": Operation(
        "GET", "/v1/models", ("limit", "after", "order", "dataset_id", "metadata"), False
    ),
    "get_model": Operation("GET", "/v1/models/{model_id}", (), False),
    "patch_model": Operation("PATCH", "/v1/models/{model_id}", (), False),
    "delete_model": Operation("DELETE", "/v1/models/{model_id}", (), False),
    "list_artifacts": Operation("GET", "/v1/models/{model_id}/artifacts", (), False),
    "get_artifact": Operation("GET", "/v1/models/{model_id}/artifacts/{name}", (), False),
    "list_model_aliases": Operation(
        "GET", "/v1/model-aliases", ("limit", "after", "order", "model_id"), False
    ),
    "get_model_alias": Operation("GET", "/v1/model-aliases/{alias}", (), False),
    "put_model_alias": Operation("PUT", "/v1/model-aliases/{alias}", (), False),
    "delete_model_alias": Operation("DELETE", "/v1/model-aliases/{alias}", (), False),
    "create_evaluation": Operation("POST", "/v1/evaluations", (), True),
    "list_evaluations": Operation(
        "GET",
        "/v1/evaluations",
        ("limit", "after", "order", "model_id", "dataset_id", "status", "metadata"),
        False,
    ),
    "get_evaluation": Operation("GET", "/v1/evaluations/{evaluation_id}", (), False),
    "delete_evaluation": Operation("DELETE", "/v1/evaluations/{evaluation_id}", (), False),
    "get_confusion_matrix": Operation("GET", "/v1/evaluations/{evaluation_id}/confusion-matrix", (), False),
    "get_pr_curves": Operation(
        "GET", "/v1/evaluations/{evaluation_id}/pr-curves", ("category_id", "region"), False
    ),
    "get_threshold_sweep": Operation("GET", "/v1/evaluations/{evaluation_id}/threshold-sweep", (), False),
    "get_evaluation_figure": Operation("GET", "/v1/evaluations/{evaluation_id}/figures/{figure}", (), False),
    "list_evaluation_images": Operation(
        "GET",
        "/v1/evaluations/{evaluation_id}/images",
        ("limit", "after", "score_threshold", "showing", "category_id"),
        False,
    ),
    "get_evaluation_detections": Operation("GET", "/v1/evaluations/{evaluation_id}/detections", (), False),
    "get_evaluation_ground_truth": Operation(
        "GET", "/v1/evaluations/{evaluation_id}/ground-truth", (), False
    ),
    "create_comparison": Operation("POST", "/v1/comparisons", (), True),
    "list_comparisons": Operation(
        "GET", "/v1/comparisons", ("limit", "after", "order", "dataset_id", "status", "metadata"), False
    ),
    "get_comparison": Operation("GET", "/v1/comparisons/{comparison_id}", (), False),
    "delete_comparison": Operation("DELETE", "/v1/comparisons/{comparison_id}", (), False),
    "get_comparison_report": Operation("GET", "/v1/comparisons/{comparison_id}/report", ("format",), False),
    "get_comparison_figure": Operation("GET", "/v1/comparisons/{comparison_id}/figures/{figure}", (), False),
    "cancel_comparison": Operation("POST", "/v1/comparisons/{comparison_id}/cancel", (), False),
    "pause_comparison": Operation("POST", "/v1/comparisons/{comparison_id}/pause", (), False),
    "resume_comparison": Operation("POST", "/v1/comparisons/{comparison_id}/resume", (), False),
    "retry_comparison": Operation("POST", "/v1/comparisons/{comparison_id}/retry", (), False),
    "create_search": Operation("POST", "/v1/searches", (), True),
    "list_searches": Operation(
        "GET", "/v1/searches", ("limit", "after", "order", "dataset_id", "status", "metadata"), False
    ),
    "get_search": Operation("GET", "/v1/searches/{search_id}", (), False),
    "delete_search": Operation("DELETE", "/v1/searches/{search_id}", (), False),
    "cancel_search": Operation("POST", "/v1/searches/{search_id}/cancel", (), False),
    "pause_search": Operation("POST", "/v1/searches/{search_id}/pause", (), False),
    "resume_search": Operation("POST", "/v1/searches/{search_id}/resume", (), False),
    "retry_search": Operation("POST", "/v1/searches/{search_id}/retry", (), False),
    "create_webhook": Operation("POST", "/v1/webhooks", (), True),
    "list_webhooks": Operation("GET", "/v1/webhooks", ("limit", "after", "order"), False),
    "get_webhook": Operation("GET", "/v1/webhooks/{webhook_id}", (), False),
    "delete_webhook": Operation("DELETE", "/v1/webhooks/{webhook_id}", (), False),
    "ping_webhook": Operation("POST", "/v1/webhooks/{webhook_id}/ping", (), False),
    "list_webhook_deliveries": Operation(
        "GET", "/v1/webhooks/{webhook_id}/deliveries", ("limit", "after", "order"), False
    ),
    "get_me": Operation("GET", "/v1/me", (), False),
    "create_key": Operation("POST", "/v1/keys", (), False),
    "list_keys": Operation("GET", "/v1/keys", ("limit", "after", "order"), False),
    "revoke_key": Operation("DELETE", "/v1/keys/{key_id}", (), False),
    "healthz": Operation("GET", "/healthz", (), False),
    "readyz": Operation("GET", "/readyz", (), False),
    "get_metrics": Operation("GET", "/metrics", (), False),
    "index": Operation("GET", "/v1", (), False),
    "list_workers": Operation("GET", "/v1/workers", ("limit", "after", "queue"), False),
    "drain_worker": Operation("POST", "/v1/workers/{worker_id}/drain", (), False),
    "undrain_worker": Operation("POST", "/v1/workers/{worker_id}/undrain", (), False),
    "get_storage": Operation("GET", "/v1/system/storage", (), False),
    "collect_storage": Operation("POST", "/v1/system/storage/collect", ("dry_run",), False),
}
