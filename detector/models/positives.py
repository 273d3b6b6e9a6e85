"""Which anchors of a batch are to find an object, and which one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positives:
    """The anchors that are matched with an object, in the order of images and anchors."""

    rows: list[Tensor]  # of the anchors, per image (P,)
    objects: list[Tensor]  # of the targets, per image (P,)

    @classmethod
    def of(cls, matched_idxs: list[Tensor]) -> Self:
        """From the row of the matched object per anchor, negative for none: per image (A,)."""
        rows = [torch.where(matched >= 0)[0] for matched in matched_idxs]
        return cls(rows, [matched[found] for matched, found in zip(matched_idxs, rows, strict=True)])

    def of_anchors(self, per_image: Iterable[Any]) -> Tensor:
        """The values (P, ...) of the positives among those of all anchors, per image (A, ...)."""
        return torch.cat([values[rows] for values, rows in zip(per_image, self.rows, strict=True)])

    def of_objects(self, targets: list[dict[str, Tensor]], key: str) -> Tensor:
        """The values (P, ...) of the matched objects."""
        return torch.cat([target[key][rows] for target, rows in zip(targets, self.objects, strict=True)])

    def shares(self) -> Tensor:
        """(P,): one over the number of positives of the image and over the number of images. A sum weighted
        so is a mean over images of the means over their positives."""
        return torch.cat(
            [
                torch.full_like(rows, 1 / (max(1, len(rows)) * len(self.rows)), dtype=torch.float32)
                for rows in self.rows
            ]
        )
