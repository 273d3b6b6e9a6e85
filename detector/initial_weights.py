"""Puts initial weights into a detector fresh from `build`: published ones, those of another detector, or a
classifier's; and says what was kept.

Tensors are found by their names, below any one prefix (`module.`, `backbone.features.`, ...), and taken where
their shapes are those of the detector; half precision becomes single. Layers of classes are taken class by
class, by the classes' names.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detector import tensor_files, weights
from detector.config import (
    Architecture,
    BackboneWeights,
    ModelWeights,
    SSDLite320,
    TrainConfig,
)
from detector.errors import ConfigInvalid, InitialWeightsUnfit, WeightsInvalid
from detector.models import Detector
from detector.models.backbone_names import backbone_names, classifier_on_meta
from detector.models.ssd import BATCH_NORM_EPS
from detector.origins import (
    BackboneOrigin,
    DetectorOrigin,
    Origin,
    backbone_of,
    fitting_part,
    origin_of,
    resolve,
)

WEIGHTS, CARD = "model.safetensors", "model.json"
_NAMED = 8  # names in the sentence of a notice; the result has all of them
_COUNTERS = "num_batches_tracked"
_NORM = ("weight", "bias", "running_mean", "running_var")
# Layers whose rows are classes, and how many rows each class has.
_CLASS_LAYERS = (
    (re.compile(r"head\.classification_head\.cls_logits\.(weight|bias)"), 1),
    (re.compile(r"(head|odm)\.classification_head\.module_list\.\d+\.(1\.)?(weight|bias)"), 1),
    (re.compile(r"roi_heads\.box_predictor\.cls_score\.(weight|bias)"), 1),
    (re.compile(r"roi_heads\.box_predictor\.bbox_pred\.(weight|bias)"), 4),
    (re.compile(r"roi_heads\.mask_predictor\.mask_fcn_logits\.(weight|bias)"), 1),
)


@dataclass(frozen=True)
class Classes:
    """What became of the rows of classes, by names."""

    kept: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """Where a training started, for the notice `initial_weights` and the result."""

    kind: str  # imagenet, coco, model, backbone
    part: str  # detector, or backbone: what was taken
    loaded: int  # tensors that have values from the file, some class's rows at least
    random: list[str]  # tensors of the network that stay as they were drawn
    unused: list[str] = field(default_factory=list)  # tensors of the file that have no use here
    folded: int = 0  # batch norms that the file has only as part of its convolutions
    classes: Classes | None = None  # None where no class was looked for
    model: str | None = None
    sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """All counts, and the first names."""
        said = [f"Initial weights ({self.kind}, {self.part}): {self.loaded} tensors kept"]
        if self.folded:
            said.append(f"{self.folded} batch norms unfolded from convolutions")
        said.append(f"{len(self.random)} random{_listed(_modules(self.random))}")
        said.append(f"{len(self.unused)} of the file not used{_listed(_modules(self.unused))}")
        if self.classes is not None:
            for what, names in asdict(self.classes).items():
                said.append(f"classes {what.replace('_', ' ')}: {', '.join(names[:_NAMED]) or 'none'}")
                said[-1] += f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return "; ".join(said) + "."


@dataclass(frozen=True)
class Given:
    """Weights on disk and what they are weights of."""

    path: Path
    origin: Origin


def given_on_command_line(config: TrainConfig, path: Path) -> tuple[TrainConfig, Given]:
    """The config resolved for the weights at `path`, and these.

    Args:
        config: whose `initial_weights` are a `model` or a `backbone`; left `random`, they become what the
            path holds.
        path: the artifacts of a training (a directory with `model.safetensors` and `model.json`), or a file
            with a backbone's weights.

    Raises:
        ConfigInvalid: the config asks for published weights.
        WeightsInvalid, InitialWeightsUnfit: the weights cannot be read, or do not fit.
    """
    folder = path if path.is_dir() else None
    asked = config.architecture.initial_weights
    if asked == "random":
        asked = BackboneWeights() if folder is None else ModelWeights()
        config = _with_initial_weights(config, asked)
    if isinstance(asked, str):
        raise ConfigInvalid(
            f"--initial-weights gives weights, but the config's initial_weights are {asked}.",
            hint='Leave initial_weights out, or make them {"kind": "model"} or {"kind": "backbone"}.',
        )
    origin: Origin
    if folder is not None:
        path, origin = folder / WEIGHTS, read_origin(folder / CARD)
    elif isinstance(asked, ModelWeights):
        origin = DetectorOrigin(config.architecture)
    else:
        origin = BackboneOrigin(backbone_of(config.architecture))
    sha256 = tensor_files.sha256_of(path)
    return resolve(config, origin, model=None, sha256=sha256), Given(path, origin)


def read_origin(card: Path) -> Origin:
    """What `model.json` says. Raises WeightsInvalid, InitialWeightsUnfit."""
    try:
        said = json.loads(card.read_bytes())
        return origin_of(said["architecture"], said["classes"], said.get("config") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsInvalid(f"{card} does not say what its weights are of: {error!r}.") from error


def load(
    detector: Detector, architecture: Architecture, classes: Sequence[str], given: Given | None
) -> Report | None:
    """Loads what `architecture.initial_weights` asks for; None for `random`.

    Args:
        classes: names in the order of the detector's labels.
        given: the weights of a `model` or `backbone`.

    Raises:
        WeightsUnavailable: published weights, or given ones, are not at hand.
        WeightsInvalid: the file cannot be read.
        InitialWeightsUnfit: it is of another network.
    """
    asked = architecture.initial_weights
    if asked == "random":
        return None
    if isinstance(asked, str):
        left = set(weights.load_initial(detector, architecture))
        own = detector.network.state_dict()
        return Report(
            kind=asked,
            part="detector" if asked == "coco" else "backbone",
            loaded=sum(name not in left for name in own if not name.endswith(_COUNTERS)),
            random=[name for name in own if name in left and not name.endswith(_COUNTERS)],
        )
    if given is None:
        raise ConfigInvalid(
            f"initial_weights asks for a {asked.kind}, but no weights were given.",
            hint="On the command line, say where they are by --initial-weights.",
        )
    report = _transfer(detector, architecture, classes, given)
    return Report(**{**vars(report), "model": asked.model, "sha256": asked.sha256})


def _transfer(detector: Detector, architecture: Architecture, classes: Sequence[str], given: Given) -> Report:
    network, origin = detector.network, given.origin
    part = fitting_part(architecture, origin)
    file = tensor_files.read(given.path)
    own = network.state_dict()
    sources = _sources(architecture, own, file, origin, part)
    if not sources:
        raise InitialWeightsUnfit(
            f"No tensor of {given.path.name} has the name of one of {architecture.kind}'s "
            f"{'backbone ' if part == 'backbone' else ''}layers.",
            hint=f"torchvision's names are expected, such as {_example(architecture, own, part)}, below any "
            "one prefix.",
        )

    mapped = _ClassRows.of(detector.first_class, classes, origin) if part == "detector" else None
    values: dict[str, Tensor] = {}
    other_shapes: list[str] = []
    for name, source in sources.items():
        value = _value(own[name], file[source], mapped, name)
        if value is not None:
            values[name] = value
        elif mapped is None or not _rows_of_class(name):
            other_shapes.append(name)
    whole = asked_whole(architecture)
    if whole:
        _require_whole(architecture, own, values, other_shapes)
        if isinstance(origin, BackboneOrigin):
            _require_no_more(origin.backbone, file)
    folded = _settle_batch_norms(network, sources, file, values, origin)
    if not values:
        raise InitialWeightsUnfit(
            f"No tensor of {given.path.name} has the shape that {architecture.kind} needs.",
            hint="Are these weights of a network of another width?",
        )
    for name, value in values.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise WeightsInvalid(f"The weights of {name} are not all finite numbers.")
    network.load_state_dict(own | values)
    used = {sources[name] for name in values if name in sources} | {_bias_of(sources[c]) for c in folded}
    return Report(
        kind="backbone" if whole else "model",
        part=part,
        loaded=sum(not name.endswith(_COUNTERS) for name in values),
        random=[name for name in own if name not in values and not name.endswith(_COUNTERS)],
        unused=[name for name in file if name not in used and not name.endswith(_COUNTERS)],
        folded=len(folded),
        classes=None if mapped is None else mapped.report,
    )


def asked_whole(architecture: Architecture) -> bool:
    """Whether a backbone that lacks layers is refused: it is where nothing but a backbone was asked for."""
    return isinstance(architecture.initial_weights, BackboneWeights)


# Which tensor is which


def _sources(
    architecture: Architecture,
    own: Mapping[str, Tensor],
    file: Mapping[str, Tensor],
    origin: Origin,
    part: str,
) -> dict[str, str]:
    """Names of the network's tensors to names in the file."""
    if part == "detector":
        return _below_prefix(own, file)
    ours = {classifiers: name for classifiers, name in backbone_names(architecture).items() if name in own}
    if isinstance(origin, DetectorOrigin):
        theirs = _below_prefix(backbone_names(origin.architecture).values(), file)
        names = backbone_names(origin.architecture)
        return {ours[one]: theirs[name] for one, name in names.items() if one in ours and name in theirs}
    short = {classifiers.removeprefix("features."): name for classifiers, name in ours.items()}
    found = _below_prefix(short, file)
    return {short[name]: source for name, source in found.items()}


def _below_prefix(wanted: Collection[str], file: Collection[str]) -> dict[str, str]:
    """The wanted names to the file's, which are the same behind the one prefix that fits most of them.

    Raises:
        InitialWeightsUnfit: two prefixes fit equally many.
    """
    known = set(wanted)
    prefixes: Counter[str] = Counter()
    for name in file:
        prefixes.update(prefix for prefix, rest in _splits(name) if rest in known)
    if not prefixes:
        return {}
    (best, count), *others = prefixes.most_common(2)
    if others and others[0][1] == count:
        raise InitialWeightsUnfit(
            f"The weights are there twice, below {best!r} and {others[0][0]!r}.",
            hint="Leave one of the two networks out of the file.",
        )
    return {name: f"{best}{name}" for name in wanted if f"{best}{name}" in file}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Every way to cut a name before one of its parts."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _example(architecture: Architecture, own: Collection[str], part: str) -> str:
    names = own if part == "detector" else backbone_names(architecture)
    return next(name for name in names if name.endswith("weight"))


# Values


@dataclass(frozen=True)
class _ClassRows:
    """Which rows of a layer of classes go where."""

    report: Classes
    ours: list[int]  # rows that get values, in order
    theirs: list[int]  # the rows that they get
    count: int  # rows of ours
    their_count: int

    @classmethod
    def of(cls, first_class: int, classes: Sequence[str], origin: Origin) -> "_ClassRows":
        before = origin.classes if isinstance(origin, DetectorOrigin) else ()
        position = {name: row for row, name in reversed(list(enumerate(before)))}
        shared = [(row, position[name]) for row, name in enumerate(classes) if name in position]
        # What is background depends on what is not: alone it is left out too.
        background = [(0, 0)] if first_class and shared else []
        pairs = background + [(first_class + ours, first_class + theirs) for ours, theirs in shared]
        return cls(
            Classes(
                kept=[name for name in classes if name in position],
                new=[name for name in classes if name not in position],
                left_out=[name for name in before if name not in classes],
            ),
            [ours for ours, _ in pairs],
            [theirs for _, theirs in pairs],
            first_class + len(classes),
            first_class + len(before),
        )


def _rows_of_class(name: str) -> int | None:
    """Rows per class of a layer of classes; None for every other tensor."""
    return next((rows for pattern, rows in _CLASS_LAYERS if pattern.fullmatch(name)), None)


def _value(own: Tensor, value: Tensor, mapped: _ClassRows | None, name: str) -> Tensor | None:
    """The new value of a tensor; None where the given one does not fit."""
    if value.is_floating_point() != own.is_floating_point():
        return None
    rows = None if mapped is None else _rows_of_class(name)
    if mapped is None or rows is None:
        return value.to(own.dtype) if value.shape == own.shape else None
    # (anchors, classes, rows of a class, ...)
    ours, theirs = mapped.count * rows, mapped.their_count * rows
    if not mapped.ours or value.dim() != own.dim() or value.shape[1:] != own.shape[1:]:
        return None
    if value.shape[0] * ours != own.shape[0] * theirs:
        return None
    result = own.clone()
    result.view(-1, mapped.count, rows, *own.shape[1:])[:, mapped.ours] = value.to(own.dtype).reshape(
        -1, mapped.their_count, rows, *own.shape[1:]
    )[:, mapped.theirs]
    return result


def _require_whole(
    architecture: Architecture,
    own: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    other_shapes: Sequence[str],
) -> None:
    """A backbone's convolutions must all be there; batch norms are looked at by themselves."""
    names = [name for name in backbone_names(architecture).values() if name in own]
    absent = [name for name in names if own[name].dim() == 4 and name not in values]
    if absent:
        reason = (
            "have other shapes" if set(absent) <= set(other_shapes) else "are missing or have other shapes"
        )
        raise InitialWeightsUnfit(
            f"The weights are not those of {backbone_of(architecture)}: {len(absent)} of its layers {reason}"
            f"{_listed(absent)}.",
            hint="Choose the backbone that the weights were trained for.",
        )


def _require_no_more(backbone: str, file: Mapping[str, Tensor]) -> None:
    """A ResNet-34 has all layers of a ResNet-18, and more: it is no ResNet-18."""
    known = {name.removeprefix("features."): name for name in classifier_on_meta(backbone).state_dict()}
    found = _below_prefix(known, file)
    prefix = next(source.removesuffix(name) for name, source in found.items())
    blocks = {name.partition(".")[0] for name in known}
    more = [
        name
        for name, value in file.items()
        if name.startswith(prefix)
        and value.dim() == 4
        and name.removeprefix(prefix) not in known
        and name.removeprefix(prefix).partition(".")[0] in blocks
    ]
    if more:
        raise InitialWeightsUnfit(
            f"The weights are not those of {backbone}, which has no layers like {len(more)} of "
            f"theirs{_listed(more)}.",
            hint="Choose the backbone that the weights were trained for.",
        )


# Batch norms


def _settle_batch_norms(
    network: nn.Module,
    sources: Mapping[str, str],
    file: Mapping[str, Tensor],
    values: dict[str, Tensor],
    origin: Origin,
) -> list[str]:
    """Makes of the batch norms what the file's network had, or refuses what would be another network.

    A batch norm divides by the root of variance + eps, so another eps is made up for in the variance. One
    that was folded into its convolution becomes one that only adds the convolution's bias; that is the same
    function as long as its statistics stay, which they do where batch norms are frozen. One without values
    can be learned, but not where it is frozen.

    Returns:
        The convolutions (their weights' names) whose batch norms were unfolded.
    """
    eps = _eps(origin)
    folded: dict[str, Tensor] = {}
    absent: list[str] = []
    learning: list[str] = []
    for convolution, name, norm in _batch_norms(network):
        if convolution not in values:
            continue
        has = [part for part in _NORM if f"{name}.{part}" in values]
        frozen = isinstance(norm, FrozenBatchNorm2d)
        bias = file.get(_bias_of(sources[convolution]))
        if len(has) == len(_NORM):
            if eps is not None:
                values[f"{name}.running_var"] = values[f"{name}.running_var"] + (eps - norm.eps)
        elif not has and bias is not None and bias.shape == norm.bias.shape:
            if not frozen:
                learning.append(name)
                continue
            folded[convolution] = bias
            values[f"{name}.weight"] = torch.ones_like(norm.weight)
            values[f"{name}.bias"] = bias.to(norm.bias.dtype)
            values[f"{name}.running_mean"] = torch.zeros_like(norm.running_mean)
            values[f"{name}.running_var"] = torch.full_like(norm.running_var, 1 - norm.eps)
        elif frozen:
            absent.append(name)
    if learning:
        raise InitialWeightsUnfit(
            f"{len(learning)} batch norms are folded into convolutions{_listed(learning)}, but in this "
            "detector batch norms learn, which would undo the folding.",
            hint="Take weights with their batch norms, or an architecture whose batch norms are frozen.",
        )
    if absent:
        raise InitialWeightsUnfit(
            f"The weights lack values of {len(absent)} batch norms{_listed(absent)}, which are frozen "
            "in this detector and could not learn them.",
            hint="Take weights with their batch norms, or an architecture whose batch norms learn.",
        )
    return list(folded)


def _batch_norms(network: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """(name of the weight of a convolution, name of the batch norm behind it, the batch norm)."""
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = (f"{name}.weight", module)
        elif isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d) and convolution is not None:
            weight, layer = convolution
            if layer.out_channels == len(module.running_mean) and layer.bias is None:  # type: ignore[arg-type]
                yield weight, name, module
            convolution = None


def _eps(origin: Origin) -> float | None:
    """What the origin's batch norms add to the variance; None where that is not known to matter.

    Bare classifiers are taken as torchvision takes its own: without regard to theirs.
    """
    if isinstance(origin, BackboneOrigin):
        return None
    if isinstance(origin.architecture, SSDLite320):
        return BATCH_NORM_EPS
    without = ("retinanet_resnet50_fpn", "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")
    published = origin.architecture.initial_weights == "coco" and origin.architecture.kind in without
    return 0.0 if published else 1e-5


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


# Words


def _with_initial_weights(config: TrainConfig, asked: ModelWeights | BackboneWeights) -> TrainConfig:
    architecture = config.architecture.model_copy(update={"initial_weights": asked})
    return config.model_copy(update={"architecture": architecture})


def _modules(names: Sequence[str]) -> list[str]:
    """The layers that tensors belong to, each once."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})"
