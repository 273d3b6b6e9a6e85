"""Which images to learn from and which to measure on, where the archive does not say."""

import hashlib
from dataclasses import dataclass

from detector.data.draft import DraftImage
from detector.data.findings import WHOLE, Findings
from detector.errors import ConfigInvalid


@dataclass(frozen=True)
class SplitOptions:
    """How a dataset without splits is divided into `train` and `val`."""

    val_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.val_fraction, bool) or not isinstance(self.val_fraction, int | float):
            raise ConfigInvalid(f"split.val_fraction is {self.val_fraction!r}; it must be a number.")
        if not 0.0 <= self.val_fraction < 1.0:
            raise ConfigInvalid(f"split.val_fraction is {self.val_fraction}; it must be from 0 to below 1.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigInvalid(f"split.seed is {self.seed!r}; it must be a whole number.")


def divide(images: list[DraftImage], options: SplitOptions, findings: Findings) -> None:
    """Give every image a split, in place.

    Splits that the archive names are kept; images of no split then belong to `train`. Where it names none, or
    all is `train`, the share `val_fraction` becomes `val`: the images whose name, hashed with the seed, comes
    first. The same names and seed always give the same division.
    """
    given = {image.split for image in images} - {None}
    if given - {"train"}:
        unassigned = [image for image in images if image.split is None]
        for image in unassigned:
            image.split = "train"
        if unassigned:
            findings.warn(
                "split_missing",
                unassigned[0].member,
                f"{len(unassigned)} image(s) are in no split and are put into train; this is one.",
            )
        return
    ranked = sorted(images, key=lambda image: _rank(image.member, options.seed))
    count = round(len(images) * options.val_fraction)
    if options.val_fraction > 0 and len(images) > 1:
        count = min(max(count, 1), len(images) - 1)
    for position, image in enumerate(ranked):
        image.split = "val" if position < count else "train"
    if images:
        findings.warn(
            "split_made",
            WHOLE,
            f"The archive has {'only a train split' if given else 'no splits'}: {count} of {len(images)} "
            f"images are put into val, by their names and seed {options.seed}.",
        )


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
