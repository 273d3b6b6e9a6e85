"""What the service says, and what it may be told, from the OpenAPI description. Written by `make client`."""

# ruff: noqa: N815

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

from harmonicdet.client.shape import Shape

JobStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]

DatasetStatus = Literal["validating", "ready", "invalid"]

JobKind = Literal["validate", "train", "evaluate", "compare", "search"]

RequestedAction = Literal["cancel", "pause", "stop"]

Scope = Literal["read", "train", "predict", "admin", "metrics"]

Metric = Literal[
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
]

Backbone = Literal["vgg16", "resnet18", "resnet34", "resnet50", "resnet101"]


class ArchitectureView(Shape):
    """A detector that can be trained."""

    id: str
    """Its name: the `architecture` of a config."""
    object: Literal["architecture"]
    description: str
    defaults: dict[str, Any]
    """Its options and their defaults."""
    schema_url: str
    """Where the JSON Schema of its config is."""


class ArchitectureList(Shape):
    """Every architecture."""

    object: Literal["list"]
    data: list[ArchitectureView]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False]
    """Always false: there are few architectures."""


class ArtifactView(Shape):
    """A file of a model."""

    object: Literal["artifact"]
    name: str
    media_type: str
    sha256: str
    bytes: int


class ArtifactList(Shape):
    """Every file of a model."""

    object: Literal["list"]
    data: list[ArtifactView]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False]
    """Always false: a model has few files."""


class CheckpointView(Shape):
    """A saved state of a training."""

    object: Literal["checkpoint"]
    step: int
    """Steps done when it was saved."""
    epoch: float
    attempt: int
    """The attempt that saved it."""
    sha256: str
    bytes: int
    created_at: datetime


class CheckpointList(Shape):
    """Checkpoints by rising step; `first_id` and `last_id` are steps."""

    object: Literal["list"]
    data: list[CheckpointView]
    first_id: int | None
    """Number of the first item; null when the page is empty."""
    last_id: int | None
    """Number of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class CollectedView(Shape):
    """Some blobs, all of one sort."""

    blobs: int
    bytes: int


class CollectionView(Shape):
    """What was deleted, or with `dry_run` what would be."""

    object: Literal["collection"]
    dry_run: bool
    unreferenced: CollectedView
    dead_attempts: CollectedView
    """What attempts that are over have shipped, and their jobs do not keep."""
    old_checkpoints: CollectedView
    """All but the last two of a job and the one of its best evaluation."""


class ComparisonProgressView(Shape):
    """How far its trainings are."""

    trainings: int
    """How many there are."""
    succeeded: int
    failed: int
    cancelled: int
    running: int
    fraction: float
    """0 to 1: the mean of the trainings'; what has ended counts whole."""


class ProblemError(Shape):
    """One thing wrong with a request, and where."""

    pointer: str
    """JSON Pointer into the body (`/config/epochs`), or the place and name of a parameter
    (`query:limit`)."""
    code: str
    """Stable name of what is wrong, such as `extra_forbidden`."""
    detail: str
    """A sentence for people."""


class JobProblem(Shape):
    """Why a job failed or a dataset is invalid."""

    type: str
    """Always `about:blank`: `code` tells problems apart."""
    title: str | None
    """What went wrong, in a few words."""
    status: int | None
    """Always null: this is no answer to a request."""
    code: str
    """Stable name of the problem, such as `out_of_memory`."""
    detail: str | None
    """A sentence that says what and where."""
    hint: str | None
    """What to do about it, where something can be done."""
    log_tail: str | None
    """The last lines of the log."""
    errors: list[ProblemError]
    """Each thing wrong with an uploaded file, where there are several."""


class RunView(Shape):
    """One training of a comparison: an ordinary job."""

    seed: int
    job_id: str
    """Progress, events, metrics, logs and the manifest are there."""
    status: JobStatus
    status_reason: str | None
    fraction: float
    """How far it is, 0 to 1."""
    model_id: str | None
    """The model it has made; null before, and once that is deleted."""
    metrics: dict[str, float | None] | None
    """The 12 COCO numbers of its model."""
    error: JobProblem | None
    """Why it failed, without the log."""


class ArmDetailView(Shape):
    """One side of a comparison, and its trainings."""

    name: str
    config: dict[str, Any]
    """What it changes in the base config."""
    resolved_config: dict[str, Any]
    """The config with every default filled in, before any seed."""
    runs: list[RunView]
    """In the order of the seeds."""


class ComparisonDetailView(Shape):
    """A comparison with the trainings of every arm."""

    id: str
    object: Literal["comparison"]
    name: str | None
    status: JobStatus
    """`queued` until its first training begins, `running` until all its jobs have ended, `paused` while
    nothing goes on before it is resumed; `succeeded`, `failed` and `cancelled` are ends."""
    requested_action: Literal["cancel", "pause"] | None
    """What was asked of it and has not happened to all its jobs yet."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    config: dict[str, Any]
    """What all arms have in common, as submitted."""
    baseline: str
    """The arm that the others are compared with."""
    seeds: list[int]
    priority: int
    progress: ComparisonProgressView
    job_id: str | None
    """The job that compares, made when the last training has ended: its progress, events and logs."""
    verdict: dict[str, str] | None
    """By arm, against the baseline: `better`, `worse`, `inconclusive`, or `refused` where too few seeds
    are there."""
    result: dict[str, Any] | None
    """The head of the report: COCO's numbers per arm and the differences of AP. What was found before a
    retry stays until it is compared again."""
    error: JobProblem | None
    """Why it failed: of trainings that are missing, `errors` names each."""
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    """When its first training began."""
    finished_at: datetime | None
    arms: list[ArmDetailView]


class ComparisonFigure(Shape):
    """A figure as Plotly draws it: `Plotly.newPlot(element, data, layout)`."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]


class ArmView(Shape):
    """One side of a comparison."""

    name: str
    config: dict[str, Any]
    """What it changes in the base config."""


class ComparisonView(Shape):
    """Trainings that differ in their config only, and what came of comparing them."""

    id: str
    object: Literal["comparison"]
    name: str | None
    status: JobStatus
    """`queued` until its first training begins, `running` until all its jobs have ended, `paused` while
    nothing goes on before it is resumed; `succeeded`, `failed` and `cancelled` are ends."""
    requested_action: Literal["cancel", "pause"] | None
    """What was asked of it and has not happened to all its jobs yet."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    config: dict[str, Any]
    """What all arms have in common, as submitted."""
    baseline: str
    """The arm that the others are compared with."""
    seeds: list[int]
    priority: int
    progress: ComparisonProgressView
    job_id: str | None
    """The job that compares, made when the last training has ended: its progress, events and logs."""
    verdict: dict[str, str] | None
    """By arm, against the baseline: `better`, `worse`, `inconclusive`, or `refused` where too few seeds
    are there."""
    result: dict[str, Any] | None
    """The head of the report: COCO's numbers per arm and the differences of AP. What was found before a
    retry stays until it is compared again."""
    error: JobProblem | None
    """Why it failed: of trainings that are missing, `errors` names each."""
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    """When its first training began."""
    finished_at: datetime | None
    arms: list[ArmView]


class ComparisonList(Shape):
    """A page of comparisons."""

    object: Literal["list"]
    data: list[ComparisonView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class ComparisonReport(Shape):
    """Everything that was found; docs/comparisons.md says what each field is."""

    object: Literal["comparison_result"]
    baseline: str
    seeds: list[int]
    """With which every arm was trained."""
    verdict: dict[str, str]
    arms: list[dict[str, Any]]
    """Of each: its runs, mean and standard deviation over the seeds, per class, size and slice."""
    differences: list[dict[str, Any]]
    """Of each arm and the baseline, with an interval over seeds, one over images, and one over both."""
    figures: dict[str, ComparisonFigure]
    """By name, as `/figures/{figure}` has them."""


class ClassView(Shape):
    """A class of objects; `id` is the dataset's own."""

    id: int
    name: str


class ConfusionView(Shape):
    """Which class is taken for which."""

    object: Literal["confusion_matrix"]
    evaluation_id: str
    classes: list[ClassView]
    matrix: list[list[int]]
    """`matrix[i][j]` counts objects of class i met by detections of class j. The last row is of
    detections where no object is, the last column of objects that were missed."""
    score_threshold: float
    """Only detections of at least this score."""
    iou_threshold: float


class BoxView(Shape):
    """One annotation."""

    id: int
    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    """The dataset's own."""
    category: str
    area: float
    """Pixels of the mask where there is one, else of the box."""
    crowd: bool
    difficult: bool
    truncated: bool
    occluded: bool


class DatasetImageView(Shape):
    """One image with its boxes."""

    id: int
    """Its position within the dataset, from 0; its paths are named by this."""
    object: Literal["dataset_image"]
    file_name: str
    """Its name in the archive."""
    image_id: int
    """Its id in the annotations, as detections of an evaluation name it."""
    split: str
    width: int
    """Of the upright image."""
    height: int
    findings: int
    """How many findings of the report are about it."""
    boxes: list[BoxView]


class DatasetImageList(Shape):
    """A page of images in the order of the dataset."""

    object: Literal["list"]
    data: list[DatasetImageView]
    first_id: int | None
    """Number of the first item; null when the page is empty."""
    last_id: int | None
    """Number of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class ArchiveView(Shape):
    """The zip as it was uploaded."""

    sha256: str
    bytes: int


class DatasetView(Shape):
    """An immutable set of images and boxes, known by the hash of its archive."""

    id: str
    object: Literal["dataset"]
    name: str
    status: DatasetStatus
    """`validating` until a worker has read it; only a `ready` one is trained on."""
    format: str | None
    """The layout that was recognised; null while validating."""
    archive: ArchiveView
    options: dict[str, Any]
    """What was asked of the validation."""
    summary: dict[str, Any] | None
    """Counts of images, annotations, splits and categories; null while validating."""
    error: JobProblem | None
    """Why it is invalid; its report has every finding."""
    metadata: dict[str, str]
    created_at: datetime
    validated_at: datetime | None
    validation_job_id: str
    """The job that validates it, with its events and logs."""


class DatasetList(Shape):
    """A page of datasets."""

    object: Literal["list"]
    data: list[DatasetView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class DeliveryView(Shape):
    """One message to a webhook."""

    id: str
    object: Literal["webhook_delivery"]
    type: str
    attempts: int
    """How often it was sent, each time with the same id."""
    pending: bool
    """Whether it will be sent (again)."""
    status: int | None
    """HTTP status of the receiver's last answer; null when it gave none."""
    error: str | None
    """Why there was no answer."""
    created_at: datetime
    delivered_at: datetime | None


class DeliveryList(Shape):
    """Messages to a webhook."""

    object: Literal["list"]
    data: list[DeliveryView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class EvaluateJobPlan(Shape):
    """What an evaluation would be, without making it (`dry_run`)."""

    object: Literal["job_plan"]
    kind: Literal["evaluate"]
    dataset_id: str
    dataset_status: str
    model_id: str
    """Of the model that was named, by its alias or its id."""
    split: str
    """What `auto` stands for."""
    images: int
    """Of the split."""


class ClassNumbers(Shape):
    """One class by COCO's metric, 0 to 1; null without objects."""

    id: int
    name: str
    AP: float | None
    AP50: float | None
    boxes: int
    """Its objects, crowds left out."""
    AP_by_iou: dict[str, float | None]
    """AP at each IoU, `0.50` to `0.95`."""


class CocoView(Shape):
    """COCO's metric, by boxes or by masks."""

    metrics: dict[str, float | None]
    score_threshold: float
    """The score from which all detections together have the best F1 at IoU 0.5."""
    AP_by_iou: dict[str, float | None]
    per_class: list[ClassNumbers]


class LimitsView(Shape):
    """What counts as a high and a low score and IoU."""

    high_score: float
    low_score: float
    high_iou: float
    low_iou: float


class ConsistencyView(Shape):
    """Whether the score tells how well a box is placed, on detections that match an object at IoU 0.5."""

    matched: int
    spearman: float | None
    """Correlation of the ranks of score and IoU."""
    pearson: float | None
    histogram: list[list[int]]
    """Rows score, columns IoU."""
    score_edges: list[float]
    iou_edges: list[float]
    high_score_low_iou: float | None
    """Share of the matched detections."""
    low_score_high_iou: float | None
    calibration_error: float | None
    """Expected, of score against IoU."""
    calibration_error_of_all: float | None
    """The same over all detections, those that match nothing with an IoU of 0."""
    ap: float | None
    ap_ranked_by_iou: float | None
    """AP of the same boxes, had each its IoU as its score."""
    headroom: float | None
    """What perfect ranking would add to AP."""
    limits: LimitsView


class SliceView(Shape):
    """AP of one kind of objects: those with `lowest` <= value < `highest`."""

    group: str
    """`size`, `elongation`, `fill`, `overlap`, `crowd`, `occluded`, `truncated` or `difficult`."""
    name: str
    """Such as `small`, `above_3`, `yes`."""
    lowest: float
    highest: float | None
    objects: int
    AP: float | None
    AP50: float | None
    AP75: float | None
    AR100: float | None


class EvaluationsMaskView(Shape):
    """COCO's metric by masks, with what else is told of them."""

    metrics: dict[str, float | None]
    score_threshold: float
    """The score from which all detections together have the best F1 at IoU 0.5."""
    AP_by_iou: dict[str, float | None]
    per_class: list[ClassNumbers]
    consistency: ConsistencyView
    slices: list[SliceView]


class VocClassView(Shape):
    """One class by VOC's metric."""

    id: int
    name: str
    AP: float | None
    objects: int
    """Difficult ones left out."""


class VocView(Shape):
    """VOC's average precision."""

    mAP: float | None
    iou_threshold: float
    inclusive: bool
    per_class: list[VocClassView]


class SuppressionView(Shape):
    """What non-maximum suppression costs, in objects."""

    objects: int
    with_candidate: int
    kept_best: int
    lost_to_worse: int
    lost_otherwise: int
    mean_iou_lost: float | None
    fell_below: dict[str, int]


class OtherSplitView(Shape):
    """The split that a training's operating points are reported on."""

    name: str
    images: int
    images_of_split: int
    metrics: dict[str, float | None]


class EvaluationDetailView(Shape):
    """Every measure. What is below `finished_at` is null or empty before it has succeeded."""

    id: str
    object: Literal["evaluation"]
    status: JobStatus
    """That of its job; `succeeded`, `failed` and `cancelled` are final."""
    status_reason: str | None
    """Why it ended or waits, such as `results_invalid`, `user_cancelled`, `worker_lost`."""
    source: Literal["training", "model", "detections"]
    """Whose detections: a model's at the end of its `training`, a `model`'s as it is served, or uploaded
    `detections`."""
    job_id: str | None
    """The job that makes it, or the training that it was made by: progress, events and logs are there."""
    model_id: str | None
    """The model; null for detections."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    split: str
    score_threshold: float | None
    """As it was asked for."""
    precision: float
    """As it was asked for."""
    voc_inclusive: bool
    """As it was asked for."""
    metrics: dict[str, float | None] | None
    """The 12 COCO numbers, 0 to 1, null where the split has no such object; of masks also `segm_AP` and
    so on. Null before it has succeeded."""
    error: JobProblem | None
    """Why it failed; `errors` names each fault of uploaded detections by a JSON Pointer."""
    metadata: dict[str, str]
    created_at: datetime
    finished_at: datetime | None
    images: int | None
    """Images it is about. A training's own is about at most 1000; its `metrics` are about all."""
    objects: int | None
    crowds: int | None
    """Regions of many objects, which count neither way."""
    detections: int | None
    classes: list[ClassView]
    bbox: CocoView | None
    """COCO by boxes."""
    segm: EvaluationsMaskView | None
    """COCO by masks; null unless every detection and some object has one."""
    voc: dict[str, VocView] | None
    """VOC's average precision: of 2007 by `11_points`, of 2010 and later by `area`."""
    slices: list[SliceView]
    """By size, by shape, and by what hides an object."""
    consistency: ConsistencyView | None
    suppression: SuppressionView | None
    """Of a training's evaluation only."""
    other_split: OtherSplitView | None
    """Of a training's evaluation only."""
    warnings: list[str]
    """Such as that the dataset lacks a class of the model."""


class HitView(Shape):
    """A detection that is right: the one match of an object of its class."""

    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    category: str
    score: float
    iou: float
    """How well it covers the object."""
    object_id: int
    """Id of that object's annotation."""


class FoundView(Shape):
    """A detection."""

    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    category: str
    score: float


class ObjectView(Shape):
    """An object of the dataset."""

    id: int
    """Id of the annotation in the split's ground truth."""
    box: tuple[float, float, float, float]
    """`[x1, y1, x2, y2]` in pixels of the upright image."""
    category_id: int
    category: str


class EvaluationImageView(Shape):
    """What was found on an image, and what was not."""

    id: int
    """Its place within the split, from 0."""
    object: Literal["evaluation_image"]
    image_id: int
    """Its id in the annotations, as detections name it."""
    file_name: str | None
    width: int | None
    height: int | None
    true_positives: list[HitView]
    """The best score first, as in the other list."""
    false_positives: list[FoundView]
    """Detections where no free object of their class is."""
    misses: list[ObjectView]
    """Objects that no detection matches."""
    ignored: int
    """Detections on crowds, which are neither right nor wrong."""


class EvaluationImageList(Shape):
    """A page of images in the order of the split."""

    object: Literal["list"]
    data: list[EvaluationImageView]
    first_id: int | None
    """Number of the first item; null when the page is empty."""
    last_id: int | None
    """Number of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""
    score_threshold: float
    """Only detections of at least this score."""


class EvaluationView(Shape):
    """Detections measured on a split of a dataset."""

    id: str
    object: Literal["evaluation"]
    status: JobStatus
    """That of its job; `succeeded`, `failed` and `cancelled` are final."""
    status_reason: str | None
    """Why it ended or waits, such as `results_invalid`, `user_cancelled`, `worker_lost`."""
    source: Literal["training", "model", "detections"]
    """Whose detections: a model's at the end of its `training`, a `model`'s as it is served, or uploaded
    `detections`."""
    job_id: str | None
    """The job that makes it, or the training that it was made by: progress, events and logs are there."""
    model_id: str | None
    """The model; null for detections."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    split: str
    score_threshold: float | None
    """As it was asked for."""
    precision: float
    """As it was asked for."""
    voc_inclusive: bool
    """As it was asked for."""
    metrics: dict[str, float | None] | None
    """The 12 COCO numbers, 0 to 1, null where the split has no such object; of masks also `segm_AP` and
    so on. Null before it has succeeded."""
    error: JobProblem | None
    """Why it failed; `errors` names each fault of uploaded detections by a JSON Pointer."""
    metadata: dict[str, str]
    created_at: datetime
    finished_at: datetime | None


class EvaluationList(Shape):
    """A page of evaluations."""

    object: Literal["list"]
    data: list[EvaluationView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class EventView(Shape):
    """Something that happened to a job."""

    id: int
    """Its number within the job, from 1; never repeats."""
    object: Literal["event"]
    type: str
    """Such as `job.started`, `job.requeued`, `job.succeeded`, `checkpoint`, `notice`."""
    data: dict[str, Any]
    attempt: int
    created_at: datetime


class EventList(Shape):
    """A page of events, oldest first."""

    object: Literal["list"]
    data: list[EventView]
    first_id: int | None
    """Number of the first item; null when the page is empty."""
    last_id: int | None
    """Number of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class HealthView(Shape):
    """The process answers."""

    status: Literal["ok"]


class IndexView(Shape):
    """Where things are."""

    object: Literal["index"]
    name: str
    version: str
    links: dict[str, str]
    """Paths of the collections and of the OpenAPI description."""


class ProgressView(Shape):
    """How far a job is. Steps and epochs count over all attempts."""

    epoch: int | None
    epochs: int | None
    step: int | None
    steps: int | None
    fraction: float | None
    """0 to 1."""
    eta_seconds: float | None


class MetricPoint(Shape):
    """Numbers at a step by their names: `loss`, `lr` of the training, `AP` and its kin of an evaluation."""

    step: int
    epoch: float


class JobMetricsView(Shape):
    """The head of a job's metrics; `/metrics` has all of them."""

    best: MetricPoint | None
    """The evaluation with the highest AP so far."""
    last: MetricPoint | None
    """The latest numbers: of the training step last logged, and of the last evaluation."""


class JobView(Shape):
    """One piece of asynchronous work."""

    id: str
    object: Literal["job"]
    kind: JobKind
    """`train`; `evaluate`, made by an evaluation; `compare`, made when the trainings of a comparison
    have ended; `search`, made when a search draws its next trials; or `validate`, made by the upload
    of a dataset."""
    status: JobStatus
    """Closed set; `succeeded`, `failed` and `cancelled` are final."""
    status_reason: str | None
    """Why it ended or waits, such as `user_cancelled`, `pruned`, `early_stopped`, `worker_lost`,
    `out_of_memory`."""
    phase: str | None
    """What it is doing: `preparing`, `training`, `evaluating`, `exporting`."""
    progress: ProgressView | None
    requested_action: RequestedAction | None
    """What was asked of it and has not happened yet."""
    attempt: int
    """Grows when a worker was lost and another goes on from the last checkpoint."""
    max_attempts: int
    """How often a lost worker may be replaced before the job fails."""
    progress_timeout_seconds: float | None
    """No new step for so long is a hang; null: as the worker's setting says."""
    queue_position: int | None
    """1 is the next; null when it does not wait in the queue."""
    waiting_for: JobViewWaitingFor
    """What a queued job waits for: a free worker, the validation of its dataset, the delay after a lost
    worker, or until its project has fewer running jobs than its quota."""
    heartbeat_at: datetime | None
    """When its worker was last heard of."""
    worker: str | None
    """Who works on it."""
    spec: dict[str, Any]
    """As submitted."""
    resolved_config: dict[str, Any] | None
    """The config with every default filled in."""
    metrics: JobMetricsView
    model_id: str | None
    """The model it has made."""
    evaluation_id: str | None
    """The evaluation it makes, or of a training has made."""
    error: JobProblem | None
    """Why it failed; of a queued job, why its last attempt ended."""
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    metadata: dict[str, str]


class JobList(Shape):
    """A page of jobs."""

    object: Literal["list"]
    data: list[JobView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class PlanWarning(Shape):
    """Why the training may disappoint, or fail."""

    code: str
    """Stable name of what was seen, such as `classes_without_boxes`, `boxes_too_small`, `storage_low`."""
    detail: str
    """A sentence with the numbers, and what to do."""
    pointer: str | None
    """The part of the request that it is about; null when it is the data themselves."""


class DiskView(Shape):
    """Bytes that a training takes at most, beside the archive of its dataset."""

    dataset_bytes: int
    """The dataset unpacked on the worker, unless it is there already."""
    checkpoint_bytes: int
    """One checkpoint: weights, their average, the best ones so far, and the optimiser's state."""
    artifacts_bytes: int
    """The model's files and what its evaluation has found."""
    worker_bytes: int
    """On the worker's disk: dataset, checkpoints, artifacts."""
    store_bytes: int
    """In the store: checkpoints, artifacts."""
    total_bytes: int
    """Of both; on one disk a file that both have is there once."""
    free_bytes: int
    """Room on the disk of this service's data, beside what always stays free there."""
    has_room: bool
    """Whether what is written there fits: the total where the workers run on this host, else the
    store's."""


class MemoryView(Shape):
    """Bytes of memory that a training holds at most. What computing a batch takes comes on top: it
    depends on the device and the number format and is known once it is tried. A batch that does not
    fit is computed in parts."""

    state_bytes: int
    """On the device, whatever the batch: weights, their average, gradients and the optimiser's state."""
    images_bytes: int
    """On the host: decoded images that are kept for the next epochs (`image_cache_mib`)."""


class TimeView(Shape):
    """How long a training would take, by the pace of earlier ones like it."""

    seconds: float
    """From when a worker begins with it until its model is there, evaluations and export included."""
    step_seconds: float
    """A step with its share of evaluations and checkpoints."""
    trainings: list[str]
    """Ids of the jobs that say so, the newest first: the same detector, image and batch size, precision
    and device. `seconds` is a median."""


class JobPlan(Shape):
    """What a job would be, without making it (`dry_run`)."""

    object: Literal["job_plan"]
    kind: JobKind
    dataset_id: str
    dataset_status: str
    resolved_config: dict[str, Any]
    """The config with every default filled in."""
    steps_per_epoch: int | None
    """Null while the dataset is validating."""
    steps: int | None
    """Of the whole training; null while the dataset is validating."""
    warnings: list[PlanWarning] | None
    """Why it may disappoint or fail, as far as the data tell; null while the dataset is validating."""
    disk: DiskView | None
    """What it will write; null while the dataset is validating."""
    memory: MemoryView | None
    """What it will hold; null while the dataset is validating."""
    time: TimeView | None
    """How long it will take; null while the dataset is validating, and where the project has no training
    like it that has succeeded in one attempt and was long enough to be timed."""


class KeyCreatedView(Shape):
    """A new API key. `key` is shown this once and cannot be had again."""

    id: str
    object: Literal["key"]
    name: str
    prefix: str
    """The visible beginning of the key."""
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    key: str
    """What a client sends as `Authorization: Bearer hd_…`."""


class KeyView(Shape):
    """An API key without its secret."""

    id: str
    object: Literal["key"]
    name: str
    prefix: str
    """The visible beginning of the key."""
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyList(Shape):
    """Keys."""

    object: Literal["list"]
    data: list[KeyView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class ManifestDatasetView(Shape):
    """What was learned from, or measured on."""

    id: str
    archive_sha256: str
    """Of the zip as it was uploaded."""
    index_sha256: str | None
    """Of what the validation made of it; null until it has."""
    options: dict[str, Any]
    """How it was read: its format, what became of invalid boxes, and how it was split, with the seed."""


class ManifestModelView(Shape):
    """The model that came out."""

    id: str
    artifacts: dict[str, str]
    """SHA-256 of each file."""


class ManifestView(Shape):
    """What it takes to do the same again, and to tell whether two trainings began alike."""

    object: Literal["manifest"]
    job_id: str
    kind: JobKind
    status: JobStatus
    attempts: int
    """How often it was begun. A training that was interrupted ends, on a CPU, with the same bits."""
    spec: dict[str, Any]
    """As submitted."""
    resolved_config: dict[str, Any] | None
    """With every default filled in."""
    seeds: dict[str, int | None]
    """`training`: of its config; `split`: of the division of the dataset, where that was made here."""
    dataset: ManifestDatasetView | None
    """Null once it is deleted."""
    initial_weights: str | dict[str, Any] | None
    """`random`, `imagenet`, `coco`; or the model, with the SHA-256 of its weights."""
    trainer: dict[str, Any] | None
    """What the trainer has found: versions, device, and hashes of the order of its data and of the
    network before its first step; null until there is a model, and once that is deleted."""
    model: ManifestModelView | None
    """Null until there is one, and once it is deleted."""


class ProjectView(Shape):
    """The project that everything seen with this key belongs to."""

    id: str
    name: str


class QuotasView(Shape):
    """How much the project may have; 0 is no limit."""

    max_queued_jobs: int
    """Jobs that wait, validations of datasets not counted."""
    max_running_jobs: int
    """Jobs that run at the same time; more of them wait."""
    max_bytes: int
    """Bytes that are kept. Uploads past it are refused; what a job makes is counted, and never refused."""


class UsageView(Shape):
    """Bytes that are kept for the project. What several things share is counted once, with the first."""

    bytes: int
    """All together."""
    datasets: int
    """Archives as they were uploaded."""
    models: int
    """Files of models."""
    evaluations: int
    """Files of evaluations."""
    comparisons: int
    """Files of comparisons."""
    checkpoints: int
    """Of jobs, to go on from."""
    uploads: int
    """What unfinished resumable uploads have announced."""


class MeView(Shape):
    """Who asks."""

    object: Literal["me"]
    project: ProjectView
    scopes: list[Scope]
    key_id: str | None
    """Id of the key; null where no key was needed and none was shown."""
    quotas: QuotasView
    usage: UsageView


class MetricView(Shape):
    """Numbers of one step of training (`split` is `train`) or of one evaluation (the split measured)."""

    id: str
    """Step and split; its place among those of its job."""
    object: Literal["metric"]
    split: str
    step: int
    """Steps done so far, over all attempts."""
    epoch: float
    values: dict[str, Any]
    """Of training: loss, its parts, lr. Of an evaluation: the 12 COCO numbers, 0 to 1, or null."""
    created_at: datetime


class MetricList(Shape):
    """A page of metrics by rising step. `last_id` is also where a later poll goes on."""

    object: Literal["list"]
    data: list[MetricView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class ModelAliasView(Shape):
    """A name that means one model now and may mean another one later. Paths take it in place of the id."""

    id: str
    object: Literal["model_alias"]
    name: str
    model_id: str
    """The model it means now."""
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    """When it was moved, or given other metadata."""


class ModelAliasList(Shape):
    """A page of aliases."""

    object: Literal["list"]
    data: list[ModelAliasView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class ModelEvaluationView(Shape):
    """A model measured on a split of a dataset."""

    id: str
    object: Literal["evaluation"]
    dataset_id: str | None
    split: str
    metrics: dict[str, Any]
    """The 12 COCO numbers, 0 to 1; null where the split has no such object."""
    per_class: list[dict[str, Any]]
    """AP and AP50 of each class."""
    created_at: datetime


class ModelDetailView(Shape):
    """A trained detector with its evaluation and files."""

    id: str
    object: Literal["model"]
    name: str
    source: Literal["trained", "imported"]
    """`trained` by a job of this service; `imported` ones are to be trained from and cannot predict."""
    part: Literal["detector", "backbone"]
    """Whether it is a whole detector, or the bare `backbone` of one."""
    architecture: str
    """Name of the detector, or of the backbone."""
    loss: str | None
    """`harmonic` or `baseline`; null for an imported one."""
    masks: bool
    """Whether it gives a mask of every object beside its box."""
    classes: list[ClassView]
    """The classes it tells apart, with the dataset's own ids."""
    config: dict[str, Any]
    """The training config with every default filled in; of an imported detector its architecture alone."""
    metrics: dict[str, Any]
    """The 12 COCO numbers of the evaluation at the end of its training, 0 to 1; none of an imported one."""
    job_id: str | None
    """The job that made it; null for an imported one."""
    dataset_id: str | None
    """The dataset it learned from; null once that is deleted."""
    metadata: dict[str, str]
    created_at: datetime
    evaluation: ModelEvaluationView | None
    """The evaluation at the end of its training."""
    artifacts: list[ArtifactView]
    """Its files, to be had at `/v1/models/{id}/artifacts/{name}`."""
    aliases: list[str]
    """The names that mean this model now, see `/v1/model-aliases`."""


class ModelView(Shape):
    """A trained detector, or imported weights to train from."""

    id: str
    object: Literal["model"]
    name: str
    source: Literal["trained", "imported"]
    """`trained` by a job of this service; `imported` ones are to be trained from and cannot predict."""
    part: Literal["detector", "backbone"]
    """Whether it is a whole detector, or the bare `backbone` of one."""
    architecture: str
    """Name of the detector, or of the backbone."""
    loss: str | None
    """`harmonic` or `baseline`; null for an imported one."""
    masks: bool
    """Whether it gives a mask of every object beside its box."""
    classes: list[ClassView]
    """The classes it tells apart, with the dataset's own ids."""
    config: dict[str, Any]
    """The training config with every default filled in; of an imported detector its architecture alone."""
    metrics: dict[str, Any]
    """The 12 COCO numbers of the evaluation at the end of its training, 0 to 1; none of an imported one."""
    job_id: str | None
    """The job that made it; null for an imported one."""
    dataset_id: str | None
    """The dataset it learned from; null once that is deleted."""
    metadata: dict[str, str]
    created_at: datetime


class ModelList(Shape):
    """A page of models."""

    object: Literal["list"]
    data: list[ModelView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class CurveView(Shape):
    """At each recall the best precision that is reached there or beyond, and the score that gives it."""

    precision: list[float]
    scores: list[float]


class ClassCurvesView(Shape):
    """The curves of one class."""

    id: int
    name: str
    by_iou: dict[str, CurveView]
    """At IoU `0.50`, `0.75` and `0.90`."""


class PrecisionRecallView(Shape):
    """Precision over recall, as pycocotools has it. A class without objects has no curve."""

    object: Literal["pr_curves"]
    evaluation_id: str
    region: Literal["bbox", "segm"]
    recall: list[float]
    data: list[ClassCurvesView]


class ImageView(Shape):
    """The image that was looked at, turned upright as its EXIF says."""

    width: int
    height: int
    file_name: str | None
    """The name it had in a multipart body."""


class RunLengthsView(Shape):
    """A mask of the whole image as COCO writes it; pycocotools decodes it as it is."""

    size: list[int]
    """Height and width of the upright image."""
    counts: str
    """The lengths of the mask's runs, column by column, compressed."""


class PredictionsMaskView(Shape):
    """The pixels of an object, in the form that was asked for."""

    rle: RunLengthsView | None
    polygons: list[list[float]] | None
    """Outlines [x1, y1, x2, y2, …] of the mask's separate pieces along the edges of its pixels; holes
    are filled."""


class DetectionView(Shape):
    """One object found."""

    box: list[float]
    """Four numbers in pixels of the upright image, as `box_format` says."""
    score: float
    """0 to 1; how sure the model is of class and place together."""
    class_id: int
    """The dataset's own id."""
    class_name: str
    mask: PredictionsMaskView | None
    """Left out where the model gives no masks, or none were asked for."""


class TimingView(Shape):
    """Milliseconds spent on this image."""

    queue: float
    """Waiting for a free thread."""
    decode: float
    """From bytes to pixels."""
    detect: float
    """Resizing and the network."""
    total: float


class PredictionView(Shape):
    """What a model finds on one image, best first."""

    object: Literal["prediction"]
    model: str
    image: ImageView
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    """`xyxy`: corners; `xywh`: corner and size; `cxcywh`: centre and size."""
    detections: list[DetectionView]
    timing_ms: TimingView


class PredictionList(Shape):
    """The predictions of a multipart body, in the order of its images."""

    object: Literal["list"]
    data: list[PredictionView]


class Problem(Shape):
    """Every error is one of these (RFC 9457), served as `application/problem+json`."""

    type: str
    """Always `about:blank`: `code` tells problems apart."""
    title: str
    """The meaning of the status, such as `Not Found`."""
    status: int | None
    """The HTTP status; null in a failed job, which is no answer to a request."""
    detail: str
    """A sentence that says what and where."""
    code: str
    """Stable name of the problem; programs look at this."""
    instance: str | None
    """The path that was asked."""
    request_id: str | None
    """The `X-Request-ID` of the answer, to be found in the server's log."""
    errors: list[ProblemError]
    """Each thing wrong with the request, where there are several."""


class ReadyView(Shape):
    """Everything the service needs is there."""

    status: Literal["ready"]
    checks: dict[str, str]
    """Each thing looked at, and `ok`. `storage` may be `nearly full`: no new uploads and jobs then."""


class FindingView(Shape):
    """One thing the validation found."""

    id: int
    """Its number within the report, from 0."""
    object: Literal["finding"]
    severity: Literal["error", "warning"]
    """`error`: cannot be used as it is; `warning`: somebody should look."""
    code: str
    """Stable name of what was found, such as `zero_size_box`."""
    location: str
    """The file of the archive and the place in it: a JSON Pointer after `#`, or a line after `:`."""
    message: str
    """A sentence that names the value."""
    action: Literal["none", "fixed", "dropped", "rejected"]
    """What was done about it; `rejected` ones are why the dataset is invalid."""
    image: int | None
    """Position of the image it is about; null when it is about none, or one that was left out."""


class ReportView(Shape):
    """What the validation found: a head, and a page of findings in the order of the archive."""

    object: Literal["list"]
    dataset_id: str
    status: DatasetStatus
    format: str | None
    summary: dict[str, Any] | None
    error: JobProblem | None
    data: list[FindingView]
    first_id: int | None
    last_id: int | None
    """Give this as `after` to get the next page."""
    has_more: bool


class SearchProgressView(Shape):
    """How far its trials are."""

    begun: int
    """How many there are so far."""
    succeeded: int
    pruned: int
    """Ended early, as others were better."""
    failed: int
    cancelled: int
    """By somebody."""
    running: int
    fraction: float
    """0 to 1, of all trials that there may be; what has ended counts whole."""


class BestTrialView(Shape):
    """The trial of the largest value."""

    number: int
    params: dict[str, Any]
    value: float
    job_id: str
    model_id: str | None
    """Null once that is deleted."""


class TrialView(Shape):
    """One training of a search: an ordinary job."""

    number: int
    """From 0, in the order in which they were begun."""
    params: dict[str, Any]
    """What it was given of the space."""
    value: float | None
    """The metric of its model; null before it has succeeded, and for a number that nothing was there
    for."""
    job_id: str
    """Progress, events, metrics, logs and the whole config are there."""
    status: JobStatus
    status_reason: str | None
    """`pruned`: ended early, as others were better."""
    fraction: float
    """How far it is, 0 to 1."""
    model_id: str | None
    """The model it has made; null before, and once that is deleted."""
    error: JobProblem | None
    """Why it failed, without the log."""


class SearchDetailView(Shape):
    """A search with all its trials."""

    id: str
    object: Literal["search"]
    name: str | None
    status: JobStatus
    """`queued` until its first trial begins, `running` until all its jobs have ended, `paused` while
    nothing goes on before it is resumed; `succeeded`, `failed` and `cancelled` are ends."""
    requested_action: Literal["cancel", "pause"] | None
    """What was asked of it and has not happened to all its jobs yet."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    config: dict[str, Any]
    """What all trials have in common, as submitted."""
    space: dict[str, Any]
    """What differs."""
    max_trials: int
    max_parallel: int
    metric: Metric
    """What is to be large."""
    pruning: dict[str, Any] | None
    """Which trials are ended early; null: none."""
    seed: int
    """What the sampler draws from."""
    priority: int
    progress: SearchProgressView
    job_id: str | None
    """The job that draws the next trials or, at last, sums up; null while trials run and nothing is to
    be drawn."""
    best: BestTrialView | None
    """The best trial so far."""
    importances: dict[str, float] | None
    """By parameter its share in what made good values good, the largest first; null with fewer than 10
    values. Of the trials that had ended when the last ones were drawn."""
    error: JobProblem | None
    """Why it failed: without a trial that has succeeded, `errors` names each."""
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    """When its first trial began."""
    finished_at: datetime | None
    best_config: dict[str, Any] | None
    """The whole config of the best trial: what to train with from now on."""
    trials: list[TrialView]
    """By number."""


class SearchView(Shape):
    """Trainings one after another, each with values that those before it suggest."""

    id: str
    object: Literal["search"]
    name: str | None
    status: JobStatus
    """`queued` until its first trial begins, `running` until all its jobs have ended, `paused` while
    nothing goes on before it is resumed; `succeeded`, `failed` and `cancelled` are ends."""
    requested_action: Literal["cancel", "pause"] | None
    """What was asked of it and has not happened to all its jobs yet."""
    dataset_id: str | None
    """The dataset; null once that is deleted."""
    config: dict[str, Any]
    """What all trials have in common, as submitted."""
    space: dict[str, Any]
    """What differs."""
    max_trials: int
    max_parallel: int
    metric: Metric
    """What is to be large."""
    pruning: dict[str, Any] | None
    """Which trials are ended early; null: none."""
    seed: int
    """What the sampler draws from."""
    priority: int
    progress: SearchProgressView
    job_id: str | None
    """The job that draws the next trials or, at last, sums up; null while trials run and nothing is to
    be drawn."""
    best: BestTrialView | None
    """The best trial so far."""
    importances: dict[str, float] | None
    """By parameter its share in what made good values good, the largest first; null with fewer than 10
    values. Of the trials that had ended when the last ones were drawn."""
    error: JobProblem | None
    """Why it failed: without a trial that has succeeded, `errors` names each."""
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    """When its first trial began."""
    finished_at: datetime | None


class SearchList(Shape):
    """A page of searches."""

    object: Literal["list"]
    data: list[SearchView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class SplitStats(Shape):
    """A split of the dataset."""

    name: str
    images: int
    boxes: int
    negatives: int
    """Images without a box."""


class ClassStats(Shape):
    """A class of objects."""

    id: int
    name: str
    boxes: int
    images: int
    """Images that show it."""
    share: float
    """Of all boxes, 0 to 1."""
    splits: dict[str, int]
    """Boxes in each split."""


class Bin(Shape):
    """How many values are at least `start` and less than `end`."""

    start: float
    end: float | None
    """Null: there is none."""
    count: int


class BoxesPerImage(Shape):
    """How crowded the images are."""

    mean: float
    median: float
    max: int
    histogram: list[Bin]


class BoxSizes(Shape):
    """Boxes by COCO's sizes: below 32 x 32 pixels, below 96 x 96, and the others."""

    small: int
    medium: int
    large: int


class Spread(Shape):
    """Of a length in pixels."""

    min: int
    median: float
    max: int


class CommonSize(Shape):
    """A size that images have."""

    width: int
    height: int
    images: int


class ImageSizes(Shape):
    """How large the images are."""

    width: Spread
    height: Spread
    distinct: int
    """How many sizes there are."""
    most_common: list[CommonSize]


class StatsView(Shape):
    """What the images and boxes of a dataset say together."""

    object: Literal["dataset_stats"]
    dataset_id: str
    images: int
    boxes: int
    """Crowds included."""
    negatives: int
    """Images without a box."""
    crowds: int
    splits: list[SplitStats]
    classes: list[ClassStats]
    boxes_per_image: BoxesPerImage
    box_sizes: BoxSizes
    """By the area of the annotation: of its mask where there is one."""
    relative_areas: list[Bin]
    """Width times height of the box, as a part of its image."""
    aspect_ratios: list[Bin]
    """Width of the box divided by its height."""
    image_sizes: ImageSizes


class BytesView(Shape):
    """Bytes of the blobs by what refers to them; what several things share is counted once."""

    datasets: int
    checkpoints: int
    artifacts: int
    """Files of models."""
    other: int
    unreferenced: int
    """What nothing refers to (any more, or yet): the collector takes it when it is old enough."""


class StorageView(Shape):
    """How much is stored, and how much room there is."""

    object: Literal["storage"]
    bytes: BytesView
    free_bytes: int
    """On the disk of the blobs; of the data, where blobs are in an object store."""
    total_bytes: int
    """Of that disk."""
    min_free_bytes: int
    """With less room new uploads and jobs are refused (507 `storage_full`)."""
    full: bool
    """Whether they are refused now."""
    last_collected_at: datetime | None
    """When old blobs were last collected."""


class SweepColumns(Shape):
    """A value per threshold; precision is null without detections, recall without objects."""

    precision: list[float | None]
    recall: list[float | None]
    f1: list[float | None]


class ClassSweepView(Shape):
    """The same of one class."""

    precision: list[float | None]
    recall: list[float | None]
    f1: list[float | None]
    id: int


class PointView(Shape):
    """What a threshold gives."""

    threshold: float
    detections: int
    hits: int
    objects: int
    precision: float | None
    recall: float | None
    f1: float | None


class OperatingPointView(Shape):
    """A threshold where it was chosen and where it is reported; null when there is none."""

    class_id: int
    """-1: all classes together."""
    chosen: PointView | None
    reported: PointView | None


class PointsView(Shape):
    """Operating points of one kind."""

    all: OperatingPointView
    per_class: list[OperatingPointView]


class PrecisePointsView(Shape):
    """The lowest thresholds that reach a precision."""

    all: OperatingPointView
    per_class: list[OperatingPointView]
    at_least: float


class OperatingPointsView(Shape):
    """Thresholds worth taking, such as in `score_threshold` of a prediction."""

    chosen_on: str
    """`the same images`, which flatters the numbers, or `other images`."""
    iou_threshold: float
    best_f1: PointsView
    precision: PrecisePointsView
    chosen_split: str | None
    """Of a training's evaluation."""
    reported_split: str | None
    """Of a training's evaluation."""


class ThresholdSweepView(Shape):
    """What a score threshold does, at 101 of them, and the ones worth taking."""

    object: Literal["threshold_sweep"]
    evaluation_id: str
    thresholds: list[float]
    all: SweepColumns
    per_class: list[ClassSweepView]
    operating_points: OperatingPointsView


class UploadView(Shape):
    """An archive that arrives in parts, and becomes a dataset once it is whole."""

    id: str
    object: Literal["upload"]
    length: int
    """Bytes of the whole."""
    offset: int
    """Bytes that have arrived; the next part begins there."""
    dataset_id: str | None
    """The dataset that it has become."""
    metadata: dict[str, str]
    """What Upload-Metadata said."""
    created_at: datetime
    expires_at: datetime
    """When it is forgotten, unless another part arrives before."""


class UploadList(Shape):
    """A page of uploads."""

    object: Literal["list"]
    data: list[UploadView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class WebhookCreatedView(Shape):
    """A new webhook. `secret` is shown this once."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None
    """When the receiver answered 410 Gone, after which nothing is sent."""
    secret: str
    """With it the receiver verifies signatures, by any library of Standard Webhooks."""


class WebhookView(Shape):
    """Where the project is told of its jobs, datasets, comparisons and searches."""

    id: str
    object: Literal["webhook"]
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None
    """When the receiver answered 410 Gone, after which nothing is sent."""


class WebhookList(Shape):
    """Webhooks."""

    object: Literal["list"]
    data: list[WebhookView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class WorkerView(Shape):
    """A worker process, as it has last told about itself."""

    id: str
    object: Literal["worker"]
    name: str
    """As in the `worker` of the jobs it has."""
    queue: str
    """`train`, `evaluate`, or `ingest`: validations."""
    device: str
    """What it computes on."""
    host: str
    pid: int
    version: str
    draining: bool
    """Whether it takes nothing more once the job at hand has ended."""
    blocked: str | None
    """Why it takes nothing at the moment, such as a disk that is nearly full."""
    job_id: str | None
    """What it works on."""
    started_at: datetime
    heartbeat_at: datetime
    """When it was last heard of; after ten minutes of silence it is forgotten."""


class WorkerList(Shape):
    """A page of workers."""

    object: Literal["list"]
    data: list[WorkerView]
    first_id: str | None
    """Id of the first item; null when the page is empty."""
    last_id: str | None
    """Id of the last item; null when the page is empty."""
    has_more: bool
    """Whether there is a next page."""


class ModelWeights(TypedDict, total=False):
    """A detector to go on from, also with other classes; another architecture takes its backbone only."""

    model: str | None
    """The model, by its id; null on the command line, where `--initial-weights` gives the file."""
    sha256: str | None
    """SHA-256 of the weights; found out where it is left out, and other weights are refused."""
    kind: Literal["model"]


class BackboneWeights(TypedDict, total=False):
    """A classifier's weights for the backbone, the rest random."""

    model: str | None
    """The model, by its id; null on the command line, where `--initial-weights` gives the file."""
    sha256: str | None
    """SHA-256 of the weights; found out where it is left out, and other weights are refused."""
    kind: Literal["backbone"]


class SSDLite320(TypedDict, total=False):
    """SSDlite with a MobileNetV3-Large backbone (torchvision): small and fast, one stage."""

    kind: Literal["ssdlite320_mobilenet_v3_large"]
    image_size: int
    """Side in pixels of the square every image is resized to."""
    initial_weights: SSDLite320InitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    reduced_tail: bool | None
    """Whether the backbone's last layers have half their width; null for what the initial weights have:
    half from `random` and `coco`, whole from `imagenet` and a `backbone`, a `model`'s own."""


class SSD300(TypedDict, total=False):
    """SSD on squares of 300 pixels with a VGG16 backbone (torchvision): the classic, one stage."""

    kind: Literal["ssd300_vgg16"]
    initial_weights: SSD300InitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int
    """How many stages of the backbone learn, counted from its end; must be 5 from random weights."""


class RefineDet320(TypedDict, total=False):
    """RefineDet (CVPR 2018) on squares of 320 pixels: one stage that refines its anchors first."""

    backbone: Backbone
    """The classifier whose maps are refined."""
    initial_weights: RefineDet320InitialWeights
    """Where training starts: `random`; an `imagenet` backbone, downloaded once; or an object: another
    `model` or an imported `backbone`."""
    kind: Literal["refinedet320"]
    image_size: int
    """Side in pixels of the square every image is resized to."""


class RefineDet512(TypedDict, total=False):
    """RefineDet (CVPR 2018) on squares of 512 pixels: slower, and better at small objects."""

    backbone: Backbone
    """The classifier whose maps are refined."""
    initial_weights: RefineDet512InitialWeights
    """Where training starts: `random`; an `imagenet` backbone, downloaded once; or an object: another
    `model` or an imported `backbone`."""
    kind: Literal["refinedet512"]
    image_size: int
    """Side in pixels of the square every image is resized to."""


class RetinaNet(TypedDict, total=False):
    """RetinaNet with focal loss, by default on a ResNet-50 (torchvision): one stage."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: RetinaNetInitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["retinanet_resnet50_fpn"]


class RetinaNetV2(TypedDict, total=False):
    """RetinaNet with group norm in its heads and batch norms that learn (torchvision): one stage."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: RetinaNetV2InitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["retinanet_resnet50_fpn_v2"]


class FCOS(TypedDict, total=False):
    """FCOS, without anchors, by default on a ResNet-50 (torchvision): one stage."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: FCOSInitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["fcos_resnet50_fpn"]


class FasterRCNN320(TypedDict, total=False):
    """Faster R-CNN with a MobileNetV3-Large FPN backbone at low resolution (torchvision): two stages."""

    kind: Literal["fasterrcnn_mobilenet_v3_large_320_fpn"]
    image_size: int
    """Shorter side in pixels after resizing; the longer side is at most twice this."""
    initial_weights: FasterRCNN320InitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int
    """How many stages of the backbone learn, counted from its end; must be 6 from random weights."""


class FasterRCNNMobile(TypedDict, total=False):
    """Faster R-CNN on two coarse maps of a MobileNetV3-Large (torchvision): two stages, light."""

    backbone: Literal["mobilenet_v2", "mobilenet_v3_large"]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: FasterRCNNMobileInitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["fasterrcnn_mobilenet_v3_large_fpn"]


class FasterRCNN(TypedDict, total=False):
    """Faster R-CNN with a feature pyramid, by default on a ResNet-50 (torchvision): two stages."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: FasterRCNNInitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["fasterrcnn_resnet50_fpn"]


class FasterRCNNV2(TypedDict, total=False):
    """Faster R-CNN with deeper heads and batch norm everywhere (torchvision): two stages, heavy."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: FasterRCNNV2InitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["fasterrcnn_resnet50_fpn_v2"]


class MaskRCNN(TypedDict, total=False):
    """Mask R-CNN, by default on a ResNet-50 (torchvision): Faster R-CNN that gives masks, too."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: MaskRCNNInitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["maskrcnn_resnet50_fpn"]


class MaskRCNNV2(TypedDict, total=False):
    """Mask R-CNN with deeper heads and batch norm everywhere (torchvision): boxes and masks, heavy."""

    backbone: Literal[
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnext101_32x8d",
        "mobilenet_v2",
        "mobilenet_v3_large",
    ]
    """The classifier whose maps the feature pyramid combines."""
    image_size: int
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int
    """Longest side in pixels after resizing."""
    initial_weights: MaskRCNNV2InitialWeights
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null
    for all."""
    kind: Literal["maskrcnn_resnet50_fpn_v2"]


class HarmonicLoss(TypedDict, total=False):
    """The harmonic loss (ICCV 2021): the two losses of a positive sample weight each other."""

    kind: Literal["harmonic"]
    harmonic_factors: bool
    """Whether the two losses weight each other; false leaves their plain sum."""
    alpha: float
    """Weight of the IoU loss beside the smooth L1 loss of the offsets."""
    iou_loss: Literal["hiou", "iou", "giou", "diou", "ciou"]
    """The IoU loss: harmonic, plain, generalised, distance or complete."""
    gamma: float
    """Exponent of (1 + IoU) in the harmonic IoU loss (`hiou` only); above 1 it would not be monotone."""
    task_contrasting: bool
    """Whether to add the task-contrasting loss, which pulls score and IoU together."""
    margin: float
    """Difference of score and IoU that the task-contrasting loss tolerates."""
    detach_factors: bool
    """Whether the harmonic factors are constants for the gradient."""
    detach_iou: bool
    """Whether the task-contrasting loss takes IoU as a constant for the gradient and moves scores only."""


class BaselineLoss(TypedDict, total=False):
    """The detector's own loss, as torchvision computes it."""

    kind: Literal["baseline"]


class SGD(TypedDict, total=False):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    lr: float
    """Learning rate at its peak, for the given batch size."""
    momentum: float
    """Share of the last step's direction that is kept."""
    weight_decay: float
    """L2 penalty on the weights (not on biases and norms)."""


class AdamW(TypedDict, total=False):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"]
    lr: float
    """Learning rate at its peak; left out, 0.0002 for RetinaNet, Faster and Mask R-CNN but for their v2."""
    weight_decay: float
    """Decoupled weight decay (not on biases and norms)."""


class CosineSchedule(TypedDict, total=False):
    """The learning rate falls along a half cosine to (almost) nothing."""

    kind: Literal["cosine"]
    final_factor: float
    """Learning rate at the end, as a share of the peak."""


class StepSchedule(TypedDict, total=False):
    """The learning rate is multiplied by a factor at given epochs."""

    kind: Literal["step"]
    milestones: list[int]
    """Epochs after which the rate falls, in rising order."""
    factor: float
    """What it is multiplied by."""


class Augmentation(TypedDict, total=False):
    """What happens to a training image; evaluation and serving see images as they are."""

    horizontal_flip: float
    """Probability of a mirror image; set 0 where left and right matter."""
    photometric: bool
    """Whether brightness, contrast, saturation and hue vary."""
    scale_jitter: tuple[float, float] | None
    """Range of random scaling such as [0.5, 1.5]; null for none."""
    iou_crop: bool
    """Whether to crop at random around objects, as SSD does; slows short trainings from random weights."""
    mosaic: float
    """Probability that a training image is put together from four: smaller objects in other
    surroundings."""
    copy_paste: float
    """Probability that objects of another image are pasted onto a training image, cut out by their masks
    where they have any."""
    multi_scale: list[int] | None
    """Values of image_size of which every batch takes one at random, such as [256, 320, 384]; null for
    architecture.image_size always."""


class EarlyStopping(TypedDict, total=False):
    """End the training when the evaluation no longer improves."""

    patience: int
    """Evaluations without improvement of AP before training ends."""
    min_delta: float
    """What counts as an improvement of AP (0 to 1)."""


class TrainConfig(TypedDict, total=False):
    """Everything that decides a training, besides the dataset."""

    architecture: TrainConfigArchitecture
    """The detector and its options, or its bare name."""
    loss: TrainConfigLoss
    """`harmonic` (the default) or `baseline`, or an object with options."""
    optimizer: Literal["sgd", "adamw"] | SGD | AdamW
    """`sgd` or `adamw`, or an object with options; left out, what suits the architecture: `adamw` with a
    learning rate of 0.0002 for RetinaNet, else `sgd` with 0.02."""
    schedule: Literal["cosine", "step"] | CosineSchedule | StepSchedule
    """`cosine` or `step`, or an object with options."""
    augmentation: Augmentation
    """Random changes of the training images."""
    epochs: int
    """Passes over the training split."""
    batch_size: int
    """Images per step, of all processes and micro-batches together."""
    gradient_accumulation: int
    """Micro-batches that each process computes one after another for a step, to save memory."""
    sync_batch_norm: bool
    """Whether batch norm takes its statistics over the micro-batches of all processes (not in mask
    heads)."""
    warmup_steps: int
    """Steps in which the learning rate rises to its peak (at most a quarter of all steps)."""
    clip_grad_norm: float | None
    """Largest norm of the gradient; null for no clipping."""
    ema_decay: float | None
    """Decay of the moving average of the weights that is evaluated and exported; null for none."""
    amp: Literal["auto", "off", "bf16", "fp16"]
    """Half precision: `auto` is bf16 on a GPU that has it and off on a CPU, where it depends on the
    machine whether bf16 is faster (`python -m detector.probe` measures it)."""
    device: Literal["auto", "cpu", "cuda"]
    """Where to train: `auto` takes a GPU when there is one."""
    seed: int
    """Fixes initial weights, data order and augmentation; on one CPU it gives the same bits."""
    train_split: str
    """The split to learn from."""
    eval_split: str
    """The split to measure on; `auto` is `val` where the dataset has one, else `test`."""
    evaluate_every: int
    """Epochs between two evaluations (COCO metrics); the last epoch is always evaluated."""
    early_stopping: EarlyStopping | None
    """When to end before the last epoch; null for never."""
    aspect_ratio_grouping: bool | None
    """Whether batches have upright images or wide ones, which pads less; null for wherever images keep
    their shape."""
    time_budget_seconds: float | None
    """Seconds after which training ends, evaluations between epochs included and attempts added up; null
    for none."""
    checkpoint_every_steps: int | None
    """Steps between checkpoints, beside one a minute and one an epoch; null for no more."""
    num_workers: int
    """Processes that decode and augment images; 0 does it in the training process."""
    image_cache_mib: int
    """Memory in MiB for decoded training images, shared out among all processes; 0 decodes anew each
    time."""


class FloatRange(TypedDict, total=False):
    """Any number between two."""

    kind: Literal["float"]
    low: float
    """The smallest value."""
    high: float
    """The largest value."""
    log: bool
    """Whether every order of magnitude is as likely as another; right for learning rates."""


class IntRange(TypedDict, total=False):
    """A whole number between two, both included."""

    kind: Literal["int"]
    low: int
    """The smallest value."""
    high: int
    """The largest value; a whole number of steps above the smallest."""
    step: int
    """Distance between neighbouring values."""
    log: bool
    """Whether every order of magnitude is as likely as another; not with a step."""


class Choices(TypedDict, total=False):
    """One of some values, in no order."""

    kind: Literal["categorical"]
    choices: list[str | bool | int | float | None]
    """The values: names, numbers, truth values or null."""


class MedianPruning(TypedDict, total=False):
    """Ends a trial whose best value so far is below the median of what the trials that have succeeded
    had at that epoch."""

    kind: Literal["median"]
    startup_trials: int
    """How many trials must have succeeded before one is ended."""
    warmup_epochs: int
    """Epochs in which no trial is ended."""


JobViewWaitingFor = Literal["worker", "worker_disk_full", "dataset", "delay", "quota"] | None

SSDLite320InitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

SSD300InitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

RefineDet320InitialWeights = Literal["random"] | Literal["imagenet"] | ModelWeights | BackboneWeights

RefineDet512InitialWeights = Literal["random"] | Literal["imagenet"] | ModelWeights | BackboneWeights

RetinaNetInitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

RetinaNetV2InitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

FCOSInitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

FasterRCNN320InitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

FasterRCNNMobileInitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

FasterRCNNInitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

FasterRCNNV2InitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

MaskRCNNInitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

MaskRCNNV2InitialWeights = (
    Literal["random"] | Literal["imagenet"] | Literal["coco"] | ModelWeights | BackboneWeights
)

TrainConfigArchitecture = (
    Literal[
        "ssdlite320_mobilenet_v3_large",
        "ssd300_vgg16",
        "refinedet320",
        "refinedet512",
        "retinanet_resnet50_fpn",
        "retinanet_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
    ]
    | SSDLite320
    | SSD300
    | RefineDet320
    | RefineDet512
    | RetinaNet
    | RetinaNetV2
    | FCOS
    | FasterRCNN320
    | FasterRCNNMobile
    | FasterRCNN
    | FasterRCNNV2
    | MaskRCNN
    | MaskRCNNV2
)

TrainConfigLoss = Literal["harmonic", "baseline"] | HarmonicLoss | BaselineLoss
