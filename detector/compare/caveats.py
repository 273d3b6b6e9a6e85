"""What a reader of a comparison should know beside its numbers."""

from collections.abc import Sequence

from detector.compare.pairing import Runs, left_out, paired
from detector.compare.specification import Specification

FEW_IMAGES = 30
NOT_FOUND = 0.01
"""A class whose AP50 stays below this is not found."""


def caveats(specification: Specification, measured: Runs, seeds: Sequence[int]) -> list[str]:
    """Sentences."""
    said = []
    for one in left_out(specification, seeds):
        lacking = ", ".join(f"{arm} ({why})" for arm, why in one["lacking"].items())
        said.append(
            f"Seed {one['seed']} is left out for every arm, for some have no training with it: {lacking}."
        )
    some = next(iter(measured.values()))
    if some.truth.images < FEW_IMAGES:
        said.append(
            f"There are only {some.truth.images} images to measure on: intervals over images are too narrow."
        )
    if some.report.images < some.truth.images:
        said.append(
            f"Slices and consistency are of {some.report.images} of the {some.truth.images} images, "
            "COCO's numbers of all."
        )
    said += _never_found(measured)
    together = paired(specification, measured, seeds)
    for name, words in (
        ("data_order", "saw the same images in the same order"),
        ("initial_weights", "began with the same weights"),
    ):
        if together[name] is not True and seeds:
            knowing = "It is not known whether" if together[name] is None else "Not"
            said.append(
                f"{knowing} all trainings of a seed {words}. The intervals hold all the same, but the pairs"
                " have less in common, so they are wider."
            )
    said += _same_detections(specification, measured, seeds)
    for name in ("device", "precision", "processes", "versions", "dataset_sha256"):
        told = {repr(getattr(one.manifest, name)) for one in measured.values() if one.manifest is not None}
        if len(told) > 1:
            said.append(f"The trainings differ in {name.removesuffix('_sha256')}, beside what the arms say.")
    return said


def _never_found(measured: Runs) -> list[str]:
    classes = list(zip(*(one.per_class for one in measured.values()), strict=True))
    known = [own for own in classes if all(one.AP50 is not None for one in own)]
    missed = [own[0].name for own in known if all((one.AP50 or 0.0) < NOT_FOUND for one in own)]
    if not missed:
        return []
    names = ", ".join(map(repr, missed))
    return [
        f"No training finds {names} (AP50 below {100 * NOT_FOUND:g} in all of them). AP is the mean over"
        f" {len(known)} classes, so a difference in those that are found counts for less in it; objects that"
        " are small in the image may be found at a larger image_size."
    ]


def _same_detections(specification: Specification, measured: Runs, seeds: Sequence[int]) -> list[str]:
    said = []
    hashes = {
        arm.name: [measured[arm.name, seed].detections_sha256 for seed in seeds] for arm in specification.arms
    }
    for arm, own in hashes.items():
        if len(set(own)) < len(own) and any(measured[arm, seed].detections for seed in seeds):
            said.append(
                f"Different seeds of arm {arm!r} found exactly the same: they are no independent trainings,"
                " and the interval over seeds says too little."
            )
        if seeds and arm != specification.baseline and own == hashes[specification.baseline]:
            said.append(f"Arm {arm!r} found exactly the same as {specification.baseline!r}, with every seed.")
    return said
