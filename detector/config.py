"""The config of a training: pydantic only, imports without torch.

Every field is followed by one sentence that a user needs; the API serves them as JSON Schema. Choices are
discriminated unions on `kind`, and a choice without options may be written as its bare name:
`{"architecture": "ssdlite320_mobilenet_v3_large", "loss": "harmonic"}`.
"""

from collections.abc import Collection
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from detector.strict import numbers_only


class Frozen(BaseModel):
    """A part of a config: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, data: object) -> object:
        return numbers_only(data, cls.model_fields, text=True)


def _by_kind(value: object) -> object:
    """`"harmonic"` means `{"kind": "harmonic"}`."""
    return {"kind": value} if isinstance(value, str) else value


# Architectures


class _GivenWeights(Frozen):
    """Weights that are neither drawn nor published: those of a model of this service, or of a file."""

    model: str | None = Field(None, min_length=1, max_length=100)
    """The model, by its id; null on the command line, where `--initial-weights` gives the file."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the weights; found out where it is left out, and other weights are refused."""


class ModelWeights(_GivenWeights):
    """A detector to go on from, also with other classes; another architecture takes its backbone only."""

    kind: Literal["model"] = "model"


class BackboneWeights(_GivenWeights):
    """A classifier's weights for the backbone, the rest random."""

    kind: Literal["backbone"] = "backbone"


def _weights_tag(value: object) -> object:
    """What tells initial weights apart: their name, or the `kind` of an object."""
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", value)


_ImageNet = Annotated[Literal["imagenet"], Tag("imagenet")]
_Random = Annotated[Literal["random"], Tag("random")]
_FromModel = Annotated[ModelWeights, Tag("model")]
_FromBackbone = Annotated[BackboneWeights, Tag("backbone")]
UnpublishedWeights = Annotated[_Random | _ImageNet | _FromModel | _FromBackbone, Discriminator(_weights_tag)]
InitialWeights = Annotated[
    _Random | _ImageNet | Annotated[Literal["coco"], Tag("coco")] | _FromModel | _FromBackbone,
    Discriminator(_weights_tag),
]


class SSDLite320(Frozen):
    """SSDlite with a MobileNetV3-Large backbone (torchvision): small and fast, one stage."""

    kind: Literal["ssdlite320_mobilenet_v3_large"] = "ssdlite320_mobilenet_v3_large"
    image_size: int = Field(320, ge=128, le=640, multiple_of=32)
    """Side in pixels of the square every image is resized to."""
    initial_weights: InitialWeights = "random"
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    reduced_tail: bool | None = None
    """Whether the backbone's last layers have half their width; null for what the initial weights have: half
    from `random` and `coco`, whole from `imagenet` and a `backbone`, a `model`'s own."""

    @property
    def tail_is_reduced(self) -> bool:
        """Whether the backbone's last layers have half their width."""
        if self.reduced_tail is not None:
            return self.reduced_tail
        return self.initial_weights != "imagenet" and not isinstance(self.initial_weights, BackboneWeights)

    @model_validator(mode="after")
    def _tail_fits_published_weights(self) -> Self:
        published = {"imagenet": False, "coco": True}
        if isinstance(self.initial_weights, str) and self.reduced_tail == (
            not published.get(self.initial_weights, self.reduced_tail)
        ):
            raise ValueError(
                f"reduced_tail {self.reduced_tail} does not fit initial_weights {self.initial_weights}"
            )
        return self


class SSD300(Frozen):
    """SSD on squares of 300 pixels with a VGG16 backbone (torchvision): the classic, one stage."""

    kind: Literal["ssd300_vgg16"] = "ssd300_vgg16"
    initial_weights: InitialWeights = "random"
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int = Field(5, ge=0, le=5)
    """How many stages of the backbone learn, counted from its end; must be 5 from random weights."""

    @model_validator(mode="after")
    def _random_weights_learn_everywhere(self) -> Self:
        if self.initial_weights == "random" and self.trainable_backbone_layers != 5:
            raise ValueError("trainable_backbone_layers must be 5 when initial_weights is random")
        return self


class FasterRCNN320(Frozen):
    """Faster R-CNN with a MobileNetV3-Large FPN backbone at low resolution (torchvision): two stages."""

    kind: Literal["fasterrcnn_mobilenet_v3_large_320_fpn"] = "fasterrcnn_mobilenet_v3_large_320_fpn"
    image_size: int = Field(320, ge=128, le=800, multiple_of=32)
    """Shorter side in pixels after resizing; the longer side is at most twice this."""
    initial_weights: InitialWeights = "random"
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int = Field(6, ge=0, le=6)
    """How many stages of the backbone learn, counted from its end; must be 6 from random weights."""

    @model_validator(mode="after")
    def _random_weights_learn_everywhere(self) -> Self:
        if self.initial_weights == "random" and self.trainable_backbone_layers != 6:
            raise ValueError("trainable_backbone_layers must be 6 when initial_weights is random")
        return self


Backbone = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "resnext101_32x8d", "mobilenet_v2", "mobilenet_v3_large"
]


class _FeaturePyramid(Frozen):
    """What the detectors with a feature pyramid have in common."""

    backbone: Backbone = "resnet50"
    """The classifier whose maps the feature pyramid combines."""
    image_size: int = Field(800, ge=128, le=1600)
    """Shorter side in pixels after resizing, unless the longer one would exceed max_size."""
    max_size: int = Field(1333, ge=128, le=3200)
    """Longest side in pixels after resizing."""
    initial_weights: InitialWeights = "random"
    """Where training starts: `random`; an `imagenet` backbone or `coco` detector, downloaded once; or an
    object: another `model` or an imported `backbone`."""
    trainable_backbone_layers: int | None = Field(None, ge=0, le=6)
    """How many stages of the backbone learn, counted from its end (ResNets have 5, MobileNets 6); null for
    all."""

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.max_size < self.image_size:
            raise ValueError(f"max_size {self.max_size} is below image_size {self.image_size}")
        return self

    @model_validator(mode="after")
    def _weights_fit_backbone(self) -> Self:
        published = type(self).model_fields["backbone"].default
        if self.initial_weights == "coco" and self.backbone != published:
            raise ValueError(
                f"initial_weights coco needs backbone {published}; none was published for {self.backbone}"
            )
        return self

    @model_validator(mode="after")
    def _stages_fit_backbone(self) -> Self:
        stages = 6 if self.backbone.startswith("mobilenet") else 5
        asked = self.trainable_backbone_layers
        if asked is not None and asked > stages:
            raise ValueError(f"trainable_backbone_layers {asked} exceeds the {stages} of {self.backbone}")
        if self.initial_weights == "random" and asked not in (None, stages):
            raise ValueError("trainable_backbone_layers must be null when initial_weights is random")
        return self


class FasterRCNN(_FeaturePyramid):
    """Faster R-CNN with a feature pyramid, by default on a ResNet-50 (torchvision): two stages."""

    kind: Literal["fasterrcnn_resnet50_fpn"] = "fasterrcnn_resnet50_fpn"


class FasterRCNNV2(_FeaturePyramid):
    """Faster R-CNN with deeper heads and batch norm everywhere (torchvision): two stages, heavy."""

    kind: Literal["fasterrcnn_resnet50_fpn_v2"] = "fasterrcnn_resnet50_fpn_v2"


class MaskRCNN(_FeaturePyramid):
    """Mask R-CNN, by default on a ResNet-50 (torchvision): Faster R-CNN that gives masks, too."""

    kind: Literal["maskrcnn_resnet50_fpn"] = "maskrcnn_resnet50_fpn"


class MaskRCNNV2(_FeaturePyramid):
    """Mask R-CNN with deeper heads and batch norm everywhere (torchvision): boxes and masks, heavy."""

    kind: Literal["maskrcnn_resnet50_fpn_v2"] = "maskrcnn_resnet50_fpn_v2"


class FasterRCNNMobile(_FeaturePyramid):
    """Faster R-CNN on two coarse maps of a MobileNetV3-Large (torchvision): two stages, light."""

    kind: Literal["fasterrcnn_mobilenet_v3_large_fpn"] = "fasterrcnn_mobilenet_v3_large_fpn"
    backbone: Literal["mobilenet_v2", "mobilenet_v3_large"] = "mobilenet_v3_large"
    """The classifier whose maps the feature pyramid combines."""


class RetinaNet(_FeaturePyramid):
    """RetinaNet with focal loss, by default on a ResNet-50 (torchvision): one stage."""

    kind: Literal["retinanet_resnet50_fpn"] = "retinanet_resnet50_fpn"


class RetinaNetV2(_FeaturePyramid):
    """RetinaNet with group norm in its heads and batch norms that learn (torchvision): one stage."""

    kind: Literal["retinanet_resnet50_fpn_v2"] = "retinanet_resnet50_fpn_v2"


class FCOS(_FeaturePyramid):
    """FCOS, without anchors, by default on a ResNet-50 (torchvision): one stage."""

    kind: Literal["fcos_resnet50_fpn"] = "fcos_resnet50_fpn"


RefineDetBackbone = Literal["vgg16", "resnet18", "resnet34", "resnet50", "resnet101"]


class _RefineDet(Frozen):
    """What RefineDet of every size has in common."""

    backbone: RefineDetBackbone = "vgg16"
    """The classifier whose maps are refined."""
    initial_weights: UnpublishedWeights = "random"
    """Where training starts: `random`; an `imagenet` backbone, downloaded once; or an object: another `model`
    or an imported `backbone`."""


class RefineDet320(_RefineDet):
    """RefineDet (CVPR 2018) on squares of 320 pixels: one stage that refines its anchors first."""

    kind: Literal["refinedet320"] = "refinedet320"
    image_size: int = Field(320, ge=128, le=640, multiple_of=64)
    """Side in pixels of the square every image is resized to."""


class RefineDet512(_RefineDet):
    """RefineDet (CVPR 2018) on squares of 512 pixels: slower, and better at small objects."""

    kind: Literal["refinedet512"] = "refinedet512"
    image_size: int = Field(512, ge=128, le=1024, multiple_of=64)
    """Side in pixels of the square every image is resized to."""


_AnyArchitecture: TypeAlias = (
    SSDLite320
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
_ArchitectureObject = Annotated[_AnyArchitecture, Field(discriminator="kind")]
Architecture = Annotated[
    _ArchitectureObject,
    BeforeValidator(
        _by_kind,
        json_schema_input_type=Literal[
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
        | _ArchitectureObject,
    ),
]

# Losses


IoULoss = Literal["hiou", "iou", "giou", "diou", "ciou"]


class HarmonicLoss(Frozen):
    """The harmonic loss (ICCV 2021): the two losses of a positive sample weight each other."""

    kind: Literal["harmonic"] = "harmonic"
    harmonic_factors: bool = True
    """Whether the two losses weight each other; false leaves their plain sum."""
    alpha: float = Field(1.5, ge=0.0, le=100.0)
    """Weight of the IoU loss beside the smooth L1 loss of the offsets."""
    iou_loss: IoULoss = "hiou"
    """The IoU loss: harmonic, plain, generalised, distance or complete."""
    gamma: float = Field(0.8, ge=0.0, le=1.0)
    """Exponent of (1 + IoU) in the harmonic IoU loss (`hiou` only); above 1 it would not be monotone."""
    task_contrasting: bool = True
    """Whether to add the task-contrasting loss, which pulls score and IoU together."""
    margin: float = Field(0.2, ge=0.0, le=1.0)
    """Difference of score and IoU that the task-contrasting loss tolerates."""
    detach_factors: bool = False
    """Whether the harmonic factors are constants for the gradient."""
    detach_iou: bool = False
    """Whether the task-contrasting loss takes IoU as a constant for the gradient and moves scores only."""

    @model_validator(mode="after")
    def _only_what_is_there_is_detached(self) -> Self:
        if self.detach_factors and not self.harmonic_factors:
            raise ValueError("detach_factors needs harmonic_factors")
        if self.detach_iou and not self.task_contrasting:
            raise ValueError("detach_iou needs task_contrasting")
        return self


class BaselineLoss(Frozen):
    """The detector's own loss, as torchvision computes it."""

    kind: Literal["baseline"] = "baseline"


_LossObject = Annotated[HarmonicLoss | BaselineLoss, Field(discriminator="kind")]
Loss = Annotated[
    _LossObject,
    BeforeValidator(_by_kind, json_schema_input_type=Literal["harmonic", "baseline"] | _LossObject),
]

# Optimisation


class SGD(Frozen):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(0.02, gt=0.0, le=10.0)
    """Learning rate at its peak, for the given batch size."""
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    """Share of the last step's direction that is kept."""
    weight_decay: float = Field(5e-4, ge=0.0, le=1.0)
    """L2 penalty on the weights (not on biases and norms)."""


class AdamW(Frozen):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0.0, le=1.0)
    """Learning rate at its peak; left out, 0.0002 for RetinaNet, Faster and Mask R-CNN but for their v2."""
    weight_decay: float = Field(0.01, ge=0.0, le=1.0)
    """Decoupled weight decay (not on biases and norms)."""


# Heads without norm, which a short training with SGD hardly moves.
_USUAL: dict[str, SGD | AdamW] = dict.fromkeys(
    (
        "retinanet_resnet50_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn",
    ),
    AdamW(lr=2e-4),
)


def usual_optimizer(architecture: str) -> SGD | AdamW:
    """What a detector is trained with where nothing is said: what the study found (docs/study.md)."""
    return _USUAL.get(architecture, SGD())


_UNSAID = object()


def _with_the_usual(value: object, info: ValidationInfo) -> object:
    """What is left out is the architecture's: the optimizer, or its learning rate."""
    usual = usual_optimizer(getattr(info.data.get("architecture"), "kind", ""))
    if value is _UNSAID:
        return usual
    value = _by_kind(value)
    # The rates of a kind itself are its defaults already, and what was said stays as it was said.
    if isinstance(value, dict) and value.get("kind") == usual.kind and "lr" in usual.model_fields_set:
        return {"lr": usual.lr, **value}
    return value


_OptimizerObject = Annotated[SGD | AdamW, Field(discriminator="kind")]
Optimizer = Annotated[
    _OptimizerObject,
    BeforeValidator(_with_the_usual, json_schema_input_type=Literal["sgd", "adamw"] | _OptimizerObject),
]


class CosineSchedule(Frozen):
    """The learning rate falls along a half cosine to (almost) nothing."""

    kind: Literal["cosine"] = "cosine"
    final_factor: float = Field(0.01, ge=0.0, le=1.0)
    """Learning rate at the end, as a share of the peak."""


class StepSchedule(Frozen):
    """The learning rate is multiplied by a factor at given epochs."""

    kind: Literal["step"] = "step"
    milestones: tuple[int, ...] = Field((8, 11), min_length=1)
    """Epochs after which the rate falls, in rising order."""
    factor: float = Field(0.1, gt=0.0, lt=1.0)
    """What it is multiplied by."""

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if any(a >= b for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError("milestones must rise")
        return self


_ScheduleObject = Annotated[CosineSchedule | StepSchedule, Field(discriminator="kind")]
Schedule = Annotated[
    _ScheduleObject,
    BeforeValidator(_by_kind, json_schema_input_type=Literal["cosine", "step"] | _ScheduleObject),
]


class Augmentation(Frozen):
    """What happens to a training image; evaluation and serving see images as they are."""

    horizontal_flip: float = Field(0.5, ge=0.0, le=1.0)
    """Probability of a mirror image; set 0 where left and right matter."""
    photometric: bool = True
    """Whether brightness, contrast, saturation and hue vary."""
    scale_jitter: tuple[float, float] | None = None
    """Range of random scaling such as [0.5, 1.5]; null for none."""
    iou_crop: bool = False
    """Whether to crop at random around objects, as SSD does; slows short trainings from random weights."""
    mosaic: float = Field(0.0, ge=0.0, le=1.0)
    """Probability that a training image is put together from four: smaller objects in other surroundings."""
    copy_paste: float = Field(0.0, ge=0.0, le=1.0)
    """Probability that objects of another image are pasted onto a training image, cut out by their masks
    where they have any."""
    multi_scale: tuple[int, ...] | None = Field(None, min_length=1, max_length=32)
    """Values of image_size of which every batch takes one at random, such as [256, 320, 384]; null for
    architecture.image_size always."""

    @model_validator(mode="after")
    def _scales_rise(self) -> Self:
        if self.scale_jitter is not None and not 0.1 <= self.scale_jitter[0] <= self.scale_jitter[1] <= 10:
            raise ValueError("scale_jitter must be two numbers from 0.1 to 10, the smaller first")
        return self


class EarlyStopping(Frozen):
    """End the training when the evaluation no longer improves."""

    patience: int = Field(10, ge=1)
    """Evaluations without improvement of AP before training ends."""
    min_delta: float = Field(0.0, ge=0.0)
    """What counts as an improvement of AP (0 to 1)."""


class TrainConfig(Frozen):
    """Everything that decides a training, besides the dataset."""

    architecture: Architecture = Field(default_factory=SSDLite320)
    """The detector and its options, or its bare name."""
    loss: Loss = Field(default_factory=HarmonicLoss)
    """`harmonic` (the default) or `baseline`, or an object with options."""
    optimizer: Optimizer = Field(default_factory=lambda: _UNSAID, validate_default=True)
    """`sgd` or `adamw`, or an object with options; left out, what suits the architecture: `adamw` with a
    learning rate of 0.0002 for RetinaNet, else `sgd` with 0.02."""
    schedule: Schedule = Field(default_factory=CosineSchedule)
    """`cosine` or `step`, or an object with options."""
    augmentation: Augmentation = Field(default_factory=Augmentation)
    """Random changes of the training images."""

    epochs: int = Field(12, ge=1, le=10_000)
    """Passes over the training split."""
    batch_size: int = Field(8, ge=1, le=1024)
    """Images per step, of all processes and micro-batches together."""
    gradient_accumulation: int = Field(1, ge=1, le=1024)
    """Micro-batches that each process computes one after another for a step, to save memory."""
    sync_batch_norm: bool = False
    """Whether batch norm takes its statistics over the micro-batches of all processes (not in mask heads)."""
    warmup_steps: int = Field(100, ge=0)
    """Steps in which the learning rate rises to its peak (at most a quarter of all steps)."""
    clip_grad_norm: float | None = Field(10.0, gt=0.0)
    """Largest norm of the gradient; null for no clipping."""
    ema_decay: float | None = Field(0.998, gt=0.0, lt=1.0)
    """Decay of the moving average of the weights that is evaluated and exported; null for none."""
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    """Half precision: `auto` is bf16 on a GPU that has it and off on a CPU, where it depends on the machine
    whether bf16 is faster (`python -m detector.probe` measures it)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train: `auto` takes a GPU when there is one."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Fixes initial weights, data order and augmentation; on one CPU it gives the same bits."""
    train_split: str = Field("train", min_length=1, max_length=20)
    """The split to learn from."""
    eval_split: str = Field("auto", min_length=1, max_length=20)
    """The split to measure on; `auto` is `val` where the dataset has one, else `test`."""
    evaluate_every: int = Field(1, ge=1)
    """Epochs between two evaluations (COCO metrics); the last epoch is always evaluated."""
    early_stopping: EarlyStopping | None = None
    """When to end before the last epoch; null for never."""
    aspect_ratio_grouping: bool | None = None
    """Whether batches have upright images or wide ones, which pads less; null for wherever images keep their
    shape."""
    time_budget_seconds: float | None = Field(None, gt=0.0)
    """Seconds after which training ends, evaluations between epochs included and attempts added up; null for
    none."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Steps between checkpoints, beside one a minute and one an epoch; null for no more."""
    num_workers: int = Field(0, ge=0, le=64)
    """Processes that decode and augment images; 0 does it in the training process."""
    image_cache_mib: int = Field(1024, ge=0, le=1 << 22)
    """Memory in MiB for decoded training images, shared out among all processes; 0 decodes anew each time."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.schedule, StepSchedule) and self.schedule.milestones[-1] >= self.epochs:
            raise ValueError(
                f"schedule.milestones ends at {self.schedule.milestones[-1]}, "
                f"which epochs={self.epochs} never reaches"
            )
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be divided into gradient_accumulation "
                f"{self.gradient_accumulation} equal parts"
            )
        return self

    @model_validator(mode="after")
    def _scales_fit_architecture(self) -> Self:
        sizes = self.augmentation.multi_scale
        if sizes is None:
            return self
        kind = self.architecture.kind
        if not isinstance(self.architecture, SSDLite320) and self.is_square:
            raise ValueError(f"augmentation.multi_scale needs an architecture of any size, not {kind}")
        for size in sizes:
            try:
                type(self.architecture).model_validate({**self.architecture.model_dump(), "image_size": size})
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise ValueError(
                    f"augmentation.multi_scale {size} is no image_size of architecture {kind}: {reason}"
                ) from error
        return self

    @model_validator(mode="after")
    def _only_shapes_that_are_kept_are_grouped(self) -> Self:
        if self.aspect_ratio_grouping and self.is_square:
            raise ValueError(
                f"aspect_ratio_grouping is of no use: architecture {self.architecture.kind} makes all images "
                "square"
            )
        return self

    @property
    def is_square(self) -> bool:
        """Whether the detector takes square images, into which others are stretched."""
        return isinstance(self.architecture, SSDLite320 | SSD300 | RefineDet320 | RefineDet512)

    def evaluation_split(self, splits: Collection[str]) -> str:
        """The split to measure on, of a dataset that has these; `val` where `auto` finds neither."""
        if self.eval_split != "auto":
            return self.eval_split
        return next((name for name in ("val", "test") if name in splits), "val")

    @property
    def groups_by_aspect_ratio(self) -> bool:
        """Whether images of a batch are all upright or all wide."""
        return not self.is_square if self.aspect_ratio_grouping is None else self.aspect_ratio_grouping


ARCHITECTURES: dict[str, type[_AnyArchitecture]] = {
    "ssdlite320_mobilenet_v3_large": SSDLite320,
    "ssd300_vgg16": SSD300,
    "refinedet320": RefineDet320,
    "refinedet512": RefineDet512,
    "retinanet_resnet50_fpn": RetinaNet,
    "retinanet_resnet50_fpn_v2": RetinaNetV2,
    "fcos_resnet50_fpn": FCOS,
    "fasterrcnn_mobilenet_v3_large_320_fpn": FasterRCNN320,
    "fasterrcnn_mobilenet_v3_large_fpn": FasterRCNNMobile,
    "fasterrcnn_resnet50_fpn": FasterRCNN,
    "fasterrcnn_resnet50_fpn_v2": FasterRCNNV2,
    "maskrcnn_resnet50_fpn": MaskRCNN,
    "maskrcnn_resnet50_fpn_v2": MaskRCNNV2,
}

WITH_MASKS = frozenset({"maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"})
"""The architectures that learn and give a mask of every object."""
