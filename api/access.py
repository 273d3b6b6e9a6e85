"""Who may do what: one table of every operation and the scope that it needs.

A request shows its key as `Authorization: Bearer hd_…`, never anywhere else. Where keys are required, one
without is answered 401, a key without the scope 403, and what belongs to another project looks absent.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from api.errors import Refusal
from store.glance import KeyGlance
from store.keys import Scope
from store.tables import DEFAULT_PROJECT, Key


class KeyMissing(Refusal):
    """This needs an API key: send it as `Authorization: Bearer hd_…`."""

    status = 401
    code = "key_missing"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="harmonicdet"'})


class KeyInvalid(KeyMissing):
    """This API key is not valid: it is unknown, revoked or expired."""

    code = "key_invalid"


class ScopeMissing(Refusal):
    """The API key does not allow this."""

    status = 403
    code = "scope_missing"


@dataclass(frozen=True)
class Caller:
    """Who asks. `key_id` is None where keys are not required and none was shown."""

    project_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    @property
    def is_operator(self) -> bool:
        """Whether the caller runs this service: an admin of the default project."""
        return Scope.ADMIN in self.scopes and self.project_id == DEFAULT_PROJECT

    def may(self, needed: Scope) -> bool:
        return needed in self.scopes or Scope.ADMIN in self.scopes


# On a machine of one's own, where no key is required.
OWNER = Caller(DEFAULT_PROJECT, frozenset(Scope))
NOBODY = Caller(DEFAULT_PROJECT, frozenset())

# What anybody may ask: whether the service is there, and how it is spoken to.
PUBLIC = frozenset({"healthz", "readyz", "docs", "page", "asset", "sign_in", "sign_out"})
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
# The pages, which hold nobody's data: they ask for it as everybody does.
PAGE_PATHS = re.compile(
    r"/|/session|/sign-in|/train|/static/[^/]+/[^/]+"
    r"|/(datasets|jobs|models|evaluations|comparisons|searches)(/[^/]+)?"
)


def is_public(path: str) -> bool:
    """Whether anybody may ask for what is at this path."""
    return path in PUBLIC_PATHS or PAGE_PATHS.fullmatch(path) is not None


# Every other operation, by its id. A route without an entry needs `admin`, and fails a test.
SCOPES: dict[str, Scope] = {
    "index": Scope.READ,
    "get_me": Scope.READ,
    "create_dataset": Scope.TRAIN,
    "list_datasets": Scope.READ,
    "get_dataset": Scope.READ,
    "get_dataset_report": Scope.READ,
    "get_dataset_stats": Scope.READ,
    "list_dataset_images": Scope.READ,
    "get_dataset_image_content": Scope.READ,
    "get_dataset_image_preview": Scope.READ,
    "delete_dataset": Scope.TRAIN,
    "describe_uploads": Scope.TRAIN,
    "create_upload": Scope.TRAIN,
    "list_uploads": Scope.READ,
    "describe_upload": Scope.TRAIN,
    "get_upload": Scope.READ,
    "head_upload": Scope.TRAIN,
    "append_upload": Scope.TRAIN,
    "delete_upload": Scope.TRAIN,
    "list_architectures": Scope.READ,
    "get_architecture_schema": Scope.READ,
    "create_job": Scope.TRAIN,
    "list_jobs": Scope.READ,
    "get_job": Scope.READ,
    "get_job_events": Scope.READ,
    "get_job_metrics": Scope.READ,
    "get_job_logs": Scope.READ,
    "get_job_manifest": Scope.READ,
    "list_job_checkpoints": Scope.READ,
    "cancel_job": Scope.TRAIN,
    "pause_job": Scope.TRAIN,
    "resume_job": Scope.TRAIN,
    "stop_job": Scope.TRAIN,
    "retry_job": Scope.TRAIN,
    "list_workers": Scope.ADMIN,
    "drain_worker": Scope.ADMIN,
    "undrain_worker": Scope.ADMIN,
    "get_storage": Scope.ADMIN,
    "get_metrics": Scope.METRICS,
    "collect_storage": Scope.ADMIN,
    "create_model": Scope.TRAIN,
    "list_models": Scope.READ,
    "get_model": Scope.READ,
    "patch_model": Scope.TRAIN,
    "delete_model": Scope.TRAIN,
    "list_model_aliases": Scope.READ,
    "get_model_alias": Scope.READ,
    "put_model_alias": Scope.TRAIN,
    "delete_model_alias": Scope.TRAIN,
    "list_artifacts": Scope.READ,
    "get_artifact": Scope.READ,
    "create_evaluation": Scope.TRAIN,
    "list_evaluations": Scope.READ,
    "get_evaluation": Scope.READ,
    "get_confusion_matrix": Scope.READ,
    "get_pr_curves": Scope.READ,
    "get_threshold_sweep": Scope.READ,
    "get_evaluation_figure": Scope.READ,
    "list_evaluation_images": Scope.READ,
    "get_evaluation_detections": Scope.READ,
    "get_evaluation_ground_truth": Scope.READ,
    "delete_evaluation": Scope.TRAIN,
    "create_comparison": Scope.TRAIN,
    "list_comparisons": Scope.READ,
    "get_comparison": Scope.READ,
    "get_comparison_report": Scope.READ,
    "get_comparison_figure": Scope.READ,
    "cancel_comparison": Scope.TRAIN,
    "pause_comparison": Scope.TRAIN,
    "resume_comparison": Scope.TRAIN,
    "retry_comparison": Scope.TRAIN,
    "delete_comparison": Scope.TRAIN,
    "create_search": Scope.TRAIN,
    "list_searches": Scope.READ,
    "get_search": Scope.READ,
    "cancel_search": Scope.TRAIN,
    "pause_search": Scope.TRAIN,
    "resume_search": Scope.TRAIN,
    "retry_search": Scope.TRAIN,
    "delete_search": Scope.TRAIN,
    "predict": Scope.PREDICT,
    "create_webhook": Scope.ADMIN,
    "list_webhooks": Scope.ADMIN,
    "get_webhook": Scope.ADMIN,
    "delete_webhook": Scope.ADMIN,
    "ping_webhook": Scope.ADMIN,
    "list_webhook_deliveries": Scope.ADMIN,
    "create_key": Scope.ADMIN,
    "list_keys": Scope.ADMIN,
    "revoke_key": Scope.ADMIN,
}


def caller_of(key: Key | KeyGlance) -> Caller:
    """Who shows this key."""
    return Caller(key.project_id, _allowed(tuple(key.scopes)), key.id)


@lru_cache(maxsize=64)
def _allowed(scopes: tuple[str, ...]) -> frozenset[Scope]:
    return frozenset(Scope(scope) for scope in scopes)


def check(caller: Caller, operation: str) -> None:
    """Raise `ScopeMissing` unless the caller may do this."""
    if operation in PUBLIC:
        return
    needed = SCOPES.get(operation, Scope.ADMIN)
    if not caller.may(needed):
        raise ScopeMissing(f"This needs a key with the scope {needed}.")
