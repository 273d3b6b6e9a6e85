"""What a comparison says: `comparison.json`, from the measured runs of every arm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.compare import intervals
from detector.compare.caveats import caveats
from detector.compare.figures import figures
from detector.compare.intervals import FEWEST_SEEDS, Interval, Intervals
from detector.compare.pairing import Runs, common_seeds, left_out, paired
from detector.compare.resampling import Draws
from detector.compare.runs import Measured, measure
from detector.compare.specification import Arm, Run, Specification
from detector.compare.told import DIAGNOSTICS, SLICE_METRICS, Manifest
from detector.errors import ComparisonInvalid
from detector.evaluate import evaluators

PRIMARY = "AP"
"""The one metric that decides; every other number only explains it."""
Floats = NDArray[np.float64]

NOISE = {
    "training": (
        "Training noise: the same config with another seed gives another detector. The interval over seeds is"
        " Student's t of the differences, each between two trainings with the same seed."
    ),
    "test_set": (
        "Test-set noise: the same detectors on other images of the same kind give other numbers. The interval"
        " over images is a bootstrap: images are drawn anew, the same for both arms, and the difference is"
        " the mean over the seeds."
    ),
    "both": (
        "The interval over seeds and images adds the two variances. It is about what a new training would"
        " give on new images."
    ),
}


def compare(
    specification: Specification, folder: Path, tell: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Measures every run and compares each arm with the baseline.

    Args:
        folder: what the runs' folders are relative to.
        tell: called with how many runs are measured, and of how many.

    Raises ComparisonInvalid for a run that cannot be measured, or was measured on something else.
    """
    measured = _measured(specification, folder, tell)
    if not measured:
        raise ComparisonInvalid(
            "No training of this comparison has succeeded, so there is nothing to compare."
        )
    seeds = common_seeds(specification, measured)
    some = next(iter(measured.values()))
    others = [arm for arm in specification.arms if arm.name != specification.baseline]
    differences = [
        _difference(arm.name, specification, measured, seeds, len(others)) for arm in others if seeds
    ]
    result = {
        "object": "comparison_result",
        "format": 1,
        "name": specification.name,
        "dataset": specification.dataset,
        "baseline": specification.baseline,
        "primary": PRIMARY,
        "confidence": specification.confidence,
        "resamples": specification.resamples,
        "evaluator": evaluators.provenance(),
        "images": some.truth.images,
        "objects": some.truth.objects,
        "classes": some.truth.classes,
        "seeds": seeds,
        "seeds_left_out": left_out(specification, seeds),
        "paired": paired(specification, measured, seeds),
        "arms": [_arm(arm, measured, seeds) for arm in specification.arms],
        "differences": differences,
        "verdict": {arm.name: _verdict(arm.name, differences) for arm in others},
        "reason": _refusal(seeds),
        "claims": len(others),
        "noise": NOISE,
        "warnings": caveats(specification, measured, seeds),
    }
    return result | {"figures": figures(result, measured)}


def head(result: Mapping[str, Any]) -> dict[str, Any]:
    """The head of it, for `result.json`: the verdicts, and COCO's numbers of arms and differences."""
    names = ("object", "name", "dataset", "baseline", "primary", "confidence", "resamples", "images", "seeds")
    return {
        **{name: result[name] for name in names},
        "verdict": result["verdict"],
        "reason": result["reason"],
        "paired": {name: result["paired"][name] for name in ("data_order", "initial_weights")},
        "arms": [{name: one[name] for name in ("name", "mean", "sd")} for one in result["arms"]],
        "differences": [
            {name: one[name] for name in ("arm", "against", "verdict")} | {PRIMARY: one["metrics"][PRIMARY]}
            for one in result["differences"]
        ],
        "warnings": result["warnings"],
    }


# --- runs and seeds ---


def _measured(
    specification: Specification, folder: Path, tell: Callable[[int, int], None]
) -> dict[tuple[str, int], Measured]:
    draws = Draws(specification.resamples)
    places = [
        (arm.name, run, run.folder)
        for arm in specification.arms
        for run in arm.runs
        if run.folder is not None
    ]
    measured: dict[tuple[str, int], Measured] = {}
    for done, (arm, run, place) in enumerate(places):
        tell(done, len(places))
        one = measure(folder / place, _who(arm, run.seed), draws)
        first = next(iter(measured), None)
        if first is not None and measured[first].truth != one.truth:
            raise ComparisonInvalid(
                f"{_who(arm, run.seed)}: It was measured on other images or objects than {_who(*first)}.",
                hint="Runs can be compared only where they were measured on the same ground truth.",
            )
        if first is not None and _kinds(measured[first]) != _kinds(one):
            raise ComparisonInvalid(
                f"{_who(arm, run.seed)}: Its report is about other images or slices than that of"
                f" {_who(*first)}."
            )
        measured[arm, run.seed] = one
    tell(len(places), len(places))
    return measured


def _kinds(one: Measured) -> tuple[int, list[tuple[str, str]]]:
    return one.report.images, [(part.group, part.name) for part in one.report.slices]


def _who(arm: str, seed: int) -> str:
    return f"arm {arm!r}, seed {seed}"


def _refusal(seeds: Sequence[int]) -> str | None:
    if len(seeds) >= FEWEST_SEEDS:
        return None
    return (
        f"A verdict needs at least {FEWEST_SEEDS} seeds with which every arm has been trained; here"
        f" {'is' if len(seeds) == 1 else 'are'} {len(seeds)}. With fewer, training noise cannot be told."
    )


# --- arms ---


def _arm(arm: Arm, measured: Runs, seeds: Sequence[int]) -> dict[str, Any]:
    used = [measured[arm.name, seed] for seed in seeds]
    some = used[0] if used else next(iter(measured.values()))
    metrics = {name: _summary([one.metrics.get(name) for one in used]) for name in some.metrics}
    return {
        "name": arm.name,
        "config": arm.config,
        "runs": [_run(run, measured.get((arm.name, run.seed)), run.seed in seeds) for run in arm.runs],
        "mean": {name: one["mean"] for name, one in metrics.items()},
        "sd": {name: one["sd"] for name, one in metrics.items()},
        "AP_by_iou": [_summary(values) for values in zip(*(one.ap_by_iou for one in used), strict=True)],
        "per_class": [
            {"id": one.id, "name": one.name, "objects": one.boxes}
            | {name: _summary([getattr(run.per_class[k], name) for run in used]) for name in ("AP", "AP50")}
            for k, one in enumerate(some.per_class)
        ],
        "per_size": {
            size: {name: metrics[f"{name}_{size}"] for name in ("AP", "AR")}
            for size in ("small", "medium", "large")
        },
        "per_slice": [
            {"group": one.group, "name": one.name, "objects": one.objects}
            | {
                name: _summary([getattr(run.report.slices[k], name) for run in used])
                for name in SLICE_METRICS
            }
            for k, one in enumerate(some.report.slices)
        ],
        "consistency": {
            name: _summary([getattr(run.report.consistency, name) for run in used]) for name in DIAGNOSTICS
        },
    }


def _run(run: Run, measured: Measured | None, used: bool) -> dict[str, Any]:
    told = {"seed": run.seed, "job": run.job, "failed": run.failed, "used": used}
    if measured is None:
        return told
    manifest, consistency = measured.manifest or Manifest(), measured.report.consistency
    return told | {
        "metrics": measured.metrics,
        "per_class": [asdict(one) for one in measured.per_class],
        "AP_by_iou": measured.ap_by_iou,
        "consistency": {name: getattr(consistency, name) for name in ("matched", *DIAGNOSTICS)},
        "detections": measured.detections,
        "detections_sha256": measured.detections_sha256,
        "manifest": msgspec.structs.asdict(manifest),
    }


def _summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and sample standard deviation; null where one is missing, the latter of fewer than two, too."""
    known = [one for one in values if one is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "sd": None}
    return {"mean": float(np.mean(known)), "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None}


# --- differences ---


def _difference(
    arm: str, specification: Specification, measured: Runs, seeds: Sequence[int], claims: int
) -> dict[str, Any]:
    own = [measured[arm, seed] for seed in seeds]
    base = [measured[specification.baseline, seed] for seed in seeds]
    images, confidence = own[0].truth.images, specification.confidence

    def told(
        values: Sequence[float | None],
        against: Sequence[float | None],
        resampled: Floats | None,
        confidence: float = confidence,
    ) -> dict[str, Any]:
        return _told(values, against, resampled, images, confidence)

    metrics = {
        name: told(
            [one.metrics.get(name) for one in own],
            [one.metrics.get(name) for one in base],
            _resampled([one.resampled.get(name) for one in own], [one.resampled.get(name) for one in base]),
        )
        for name in own[0].metrics
    }
    # All claims together are to hold at this confidence, so each is made at a higher one.
    decided = told(
        [one.metrics[PRIMARY] for one in own],
        [one.metrics[PRIMARY] for one in base],
        _resampled([one.resampled[PRIMARY] for one in own], [one.resampled[PRIMARY] for one in base]),
        intervals.shared_confidence(confidence, claims),
    )
    metrics[PRIMARY]["verdict"] = decided["verdict"]
    return {
        "arm": arm,
        "against": specification.baseline,
        "verdict": decided["verdict"],
        "decided_by": {"metric": PRIMARY, "confidence": intervals.shared_confidence(confidence, claims)}
        | {name: decided[name] for name in _INTERVALS},
        "metrics": metrics,
        "per_class": [
            {"id": one.id, "name": one.name, "objects": one.boxes}
            | {
                "AP": told(
                    [run.per_class[k].AP for run in own],
                    [run.per_class[k].AP for run in base],
                    _resampled(
                        [run.resampled_classes[k] for run in own], [run.resampled_classes[k] for run in base]
                    ),
                )
            }
            for k, one in enumerate(own[0].per_class)
        ],
        "per_slice": [
            {"group": one.group, "name": one.name, "objects": one.objects}
            | {
                "AP": told(
                    [run.report.slices[k].AP for run in own], [run.report.slices[k].AP for run in base], None
                )
            }
            for k, one in enumerate(own[0].report.slices)
        ],
        "consistency": {
            name: told(
                [getattr(run.report.consistency, name) for run in own],
                [getattr(run.report.consistency, name) for run in base],
                None,
            )
            for name in DIAGNOSTICS
        },
    }


_INTERVALS = ("interval_over_seeds", "interval_over_images", "interval")


def _resampled(own: Sequence[Floats | None], base: Sequence[Floats | None]) -> Floats | None:
    """The difference of each resample, mean over the seeds: between equal runs exactly 0."""
    pairs = [(a, b) for a, b in zip(own, base, strict=True) if a is not None and b is not None]
    return np.mean([a - b for a, b in pairs], axis=0) if len(pairs) == len(own) else None


def _told(
    values: Sequence[float | None],
    against: Sequence[float | None],
    resampled: Floats | None,
    images: int,
    confidence: float,
) -> dict[str, Any]:
    """A paired difference. Without resamples there is an interval over seeds only, and no verdict."""
    pairs = [(a, b) for a, b in zip(values, against, strict=True) if a is not None and b is not None]
    told: dict[str, Any] = {"mean": None, "sd": None, "per_seed": None, **dict.fromkeys(_INTERVALS)}
    if resampled is not None:
        told |= {"resamples": int(np.count_nonzero(~np.isnan(resampled))), "verdict": None}
    if not pairs or len(pairs) < len(values):
        return told
    differences = np.array([a - b for a, b in pairs])
    told |= _summary(differences.tolist()) | {"per_seed": differences.tolist()}
    several = len(differences) > 1
    if several:
        told["interval_over_seeds"] = _limits(intervals.over_seeds(differences, confidence))
    if resampled is None or np.isnan(resampled).all():
        return told
    known = resampled[~np.isnan(resampled)]
    told["interval_over_images"] = _limits(intervals.over_images(known, images, confidence))
    if several:
        found = intervals.intervals(differences, known, images, confidence)
        told["interval"] = _limits(found.both)
        told["verdict"] = _decided(found, len(differences))
    else:
        told["verdict"] = "refused"
    return told


def _decided(found: Intervals, seeds: int) -> str:
    return intervals.verdict(found) if seeds >= FEWEST_SEEDS else "refused"


def _verdict(arm: str, differences: Sequence[Mapping[str, Any]]) -> str:
    """Refused, too, where there is nothing that all arms have."""
    found = next((one["verdict"] for one in differences if one["arm"] == arm), None)
    return "refused" if found is None else str(found)


def _limits(one: Interval) -> list[float]:
    return [float(one.low), float(one.high)]
