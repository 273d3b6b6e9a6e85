"""What the store refuses, and why.

The docstring of a class is its message; `code` is stable and meant for programs.
"""

from typing import ClassVar


class StoreError(Exception):
    """The store could not do this."""

    code: ClassVar[str] = "store_error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        super().__init__(self.message)


# What is asked for is not there, or belongs to another project (the two look the same).


class NotFound(StoreError):
    """There is no such thing in this project."""

    code = "not_found"


class ProjectNotFound(NotFound):
    """There is no such project."""

    code = "project_not_found"


class KeyNotFound(NotFound):
    """There is no such key."""

    code = "key_not_found"


class WebhookNotFound(NotFound):
    """There is no such webhook."""

    code = "webhook_not_found"


class DatasetNotFound(NotFound):
    """There is no such dataset."""

    code = "dataset_not_found"


class JobNotFound(NotFound):
    """There is no such job."""

    code = "job_not_found"


class ModelNotFound(NotFound):
    """There is no such model."""

    code = "model_not_found"


class ModelAliasNotFound(NotFound):
    """There is no such name of a model."""

    code = "model_alias_not_found"


class ArtifactNotFound(NotFound):
    """This model has no artifact of that name."""

    code = "artifact_not_found"


class EvaluationNotFound(NotFound):
    """There is no such evaluation."""

    code = "evaluation_not_found"


class EvaluationFileNotFound(NotFound):
    """This evaluation does not have this: an earlier version made it. Evaluate the model again."""

    code = "evaluation_file_not_found"


class UploadNotFound(NotFound):
    """There is no such upload; those that nobody goes on with are forgotten after a day."""

    code = "upload_not_found"


class DatasetImageNotFound(NotFound):
    """This dataset has no image at that position."""

    code = "dataset_image_not_found"


class ComparisonNotFound(NotFound):
    """There is no such comparison."""

    code = "comparison_not_found"


class SearchNotFound(NotFound):
    """There is no such search."""

    code = "search_not_found"


class ComparisonFigureNotFound(NotFound):
    """This comparison has no figure of that name."""

    code = "comparison_figure_not_found"


class WorkerNotFound(NotFound):
    """There is no such worker; those not heard of for ten minutes are forgotten."""

    code = "worker_not_found"


# What is asked for is impossible in the present state.


class Conflict(StoreError):
    """This is not possible in the present state."""

    code = "conflict"


class JobAlreadyFinished(Conflict):
    """This job has already finished."""

    code = "job_already_finished"


class JobBeingCancelled(Conflict):
    """This job is being cancelled; nothing else can be asked of it."""

    code = "job_being_cancelled"


class JobNotPaused(Conflict):
    """Only a paused job can be resumed."""

    code = "job_not_paused"


class JobNotRetryable(Conflict):
    """Only a failed or cancelled job can be retried."""

    code = "job_not_retryable"


class JobNotStarted(Conflict):
    """This job has not trained yet, so there is nothing to stop at; cancel it instead."""

    code = "job_not_started"


class ActionNotPossible(Conflict):
    """A job of this kind can only be cancelled."""

    code = "action_not_possible"


class DatasetInUse(Conflict):
    """A job that has not finished uses this dataset."""

    code = "dataset_in_use"


class DatasetNotUsable(Conflict):
    """This dataset is invalid; its report says why."""

    code = "dataset_invalid"


class DatasetNotReady(Conflict):
    """Only a dataset that is ready has this."""

    code = "dataset_not_ready"


class UploadIncomplete(Conflict):
    """Not all bytes of this upload have arrived yet."""

    code = "upload_incomplete"


class UploadUsed(Conflict):
    """This upload has become another dataset already."""

    code = "upload_used"


class UploadsTooMany(Conflict):
    """This project has as many unfinished uploads as it may; finish or delete some."""

    code = "uploads_too_many"


class UploadBusy(StoreError):
    """Another request is writing to this upload; try again in a moment."""

    code = "upload_busy"


class OffsetMismatch(Conflict):
    """Upload-Offset is not how far the upload has come; ask for that with HEAD."""

    code = "offset_mismatch"


class ModelInUse(Conflict):
    """A job that has not finished uses this model."""

    code = "model_in_use"


class ModelHasAlias(Conflict):
    """A name means this model; move or delete that first."""

    code = "model_has_alias"


class ModelCannotPredict(Conflict):
    """This model was imported as a starting point: it has no graph to predict with. Train from it first."""

    code = "model_cannot_predict"


class EvaluationRunning(Conflict):
    """The job of this evaluation has not finished; cancel it first."""

    code = "evaluation_running"


class EvaluationNotReady(Conflict):
    """Only an evaluation whose job has succeeded has this."""

    code = "evaluation_not_ready"


class SearchRunning(Conflict):
    """This search has not ended; cancel it first."""

    code = "search_running"


class SearchAlreadyFinished(Conflict):
    """This search has already ended."""

    code = "search_already_finished"


class SearchBeingCancelled(Conflict):
    """This search is being cancelled; nothing else can be asked of it."""

    code = "search_being_cancelled"


class SearchNotPausable(Conflict):
    """The trials of this search have ended; what is left can only be cancelled."""

    code = "search_not_pausable"


class SearchNotPaused(Conflict):
    """This search is not paused."""

    code = "search_not_paused"


class SearchNotRetryable(Conflict):
    """Nothing of this search has failed or was cancelled."""

    code = "search_not_retryable"


class ComparisonUsesModel(Conflict):
    """A comparison that has not ended needs this model; cancel it first."""

    code = "model_in_comparison"


class ComparisonRunning(Conflict):
    """This comparison has not ended; cancel it first."""

    code = "comparison_running"


class ComparisonNotReady(Conflict):
    """Only a comparison that has succeeded has this."""

    code = "comparison_not_ready"


class ComparisonAlreadyFinished(Conflict):
    """This comparison has already ended."""

    code = "comparison_already_finished"


class ComparisonBeingCancelled(Conflict):
    """This comparison is being cancelled; nothing else can be asked of it."""

    code = "comparison_being_cancelled"


class ComparisonNotPausable(Conflict):
    """The trainings of this comparison have ended; what is left can only be cancelled."""

    code = "comparison_not_pausable"


class ComparisonNotPaused(Conflict):
    """No training of this comparison is paused."""

    code = "comparison_not_paused"


class ComparisonNotRetryable(Conflict):
    """Nothing of this comparison has failed or was cancelled."""

    code = "comparison_not_retryable"


class QuotaExceeded(Conflict):
    """This project has as many queued jobs as it may; wait until some have started, or cancel some."""

    code = "quota_exceeded"


class StorageQuotaExceeded(StoreError):
    """This project would keep more bytes than it may; delete what is not needed any more."""

    code = "storage_quota_exceeded"


class IdempotencyMismatch(StoreError):
    """This Idempotency-Key was used before with another request."""

    code = "idempotency_mismatch"


class RequestInProgress(Conflict):
    """A request with this Idempotency-Key is still being answered; ask again in a moment."""

    code = "request_in_progress"


# What a worker meets.


class Fenced(StoreError):
    """The claim is no longer ours: the job was taken back, given to another worker, or ended."""

    code = "fenced"


class CancelRequested(Fenced):
    """The job was asked to be cancelled before it finished; it can only be cancelled now."""

    code = "cancel_requested"


# What is missing or broken around the rows.


class SettingsInvalid(StoreError):
    """A setting is missing or invalid."""

    code = "settings_invalid"


class Unavailable(StoreError):
    """The database cannot be reached."""

    code = "database_unavailable"


class OutcomeUnknown(Unavailable):
    """The database went away while this was being committed; it may or may not have been done."""

    code = "outcome_unknown"


class BlobsUnavailable(Unavailable):
    """The storage of datasets, models and checkpoints cannot be reached."""

    code = "blobs_unavailable"


class BlobNotFound(StoreError):
    """The bytes are not in the blob store."""

    code = "blob_not_found"


class BlobCorrupt(StoreError):
    """The bytes in the blob store are not the ones that were put there."""

    code = "blob_corrupt"


class BlobsForeign(Conflict):
    """These blobs belong to another database, so nothing of them is collected."""

    code = "blobs_foreign"


class ChoreTaken(Conflict):
    """Another process is doing this at the moment; try again when it has ended."""

    code = "in_progress"


class BackupRefused(StoreError):
    """This cannot be backed up to there, or restored from there."""

    code = "backup_refused"


class BackupDamaged(StoreError):
    """The backup is not what was written."""

    code = "backup_damaged"


class StorageFull(StoreError):
    """There is no room left on the data volume."""

    code = "storage_full"
