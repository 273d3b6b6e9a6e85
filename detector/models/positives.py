"""Which anchors of a batch are to find an object, and which one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positives:
    """The anchors that are matched with an object, in the order of images and anchors, and P of them.

    To know how many there are, a GPU would have to be waited for. So there all anchors are computed, P is
    their number, and those that are not `chosen` count nothing. On a CPU nothing waits, and the few cost less
    than all.
    """

    rows: list[Tensor] | None  # of the anchors, per image; None for all anchors
    objects: list[Tensor]  # of the targets, per image; where an anchor is not chosen, -1
    chosen: Tensor  # (P,) bool
    images: list[Tensor]  # of each image the number of its positives, at least 1

    @classmethod
    def of(cls, matched_idxs: Sequence[Tensor], *, masked: bool | None = None) -> Self:
        """From the row of the matched object per anchor, negative for none: per image (A,).

        Args:
            masked: whether all anchors are computed; None for what the device likes.
        """
        if masked is None:
            masked = matched_idxs[0].device.type != "cpu"
        found = [matched >= 0 for matched in matched_idxs]
        images = [one.sum().clamp(min=1) for one in found]
        if masked:
            return cls(None, [matched.clamp(min=-1) for matched in matched_idxs], torch.cat(found), images)
        rows = [torch.where(one)[0] for one in found]
        objects = [matched[own] for matched, own in zip(matched_idxs, rows, strict=True)]
        return cls(rows, objects, torch.ones_like(torch.cat(objects), dtype=torch.bool), images)

    def of_anchors(self, per_image: Sequence[Tensor] | Tensor) -> Tensor:
        """The values (P, ...) of the positives among those of all anchors, per image (A, ...)."""
        if self.rows is None:
            return per_image.flatten(0, 1) if isinstance(per_image, Tensor) else torch.cat(list(per_image))
        return torch.cat([values[rows] for values, rows in zip(per_image, self.rows, strict=True)])

    def labels(self, targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """(P,): of the matched objects; 0 where an anchor is not chosen."""
        return self._of_objects(targets, "labels")

    def boxes(self, targets: Sequence[dict[str, Tensor]], anchors: Tensor) -> Tensor:
        """(P, 4): of the matched objects; where an anchor (P, 4) is not chosen, the anchor itself, of which
        every loss is finite."""
        boxes = self._of_objects(targets, "boxes")
        return boxes if self.rows is not None else torch.where(self.chosen[:, None], boxes, anchors)

    def sum(self, values: Tensor) -> Tensor:
        """Of the values (P,) of those that are chosen."""
        return values.sum() if self.rows is not None else torch.where(self.chosen, values, 0).sum()

    def count(self) -> Tensor:
        """How many are chosen, at least 1."""
        return self.chosen.sum().clamp(min=1)

    def shares(self) -> Tensor:
        """(P,): one over the number of positives of the image and over the number of images. A sum weighted
        so is a mean over images of the means over their positives."""
        return torch.cat(
            [
                (1 / (own * len(self.images))).expand(len(rows))
                for own, rows in zip(self.images, self.objects, strict=True)
            ]
        )

    def _of_objects(self, targets: Sequence[dict[str, Tensor]], key: str) -> Tensor:
        if self.rows is None:
            return torch.cat(
                [with_nothing(target[key])[rows] for target, rows in zip(targets, self.objects, strict=True)]
            )
        return torch.cat([target[key][rows] for target, rows in zip(targets, self.objects, strict=True)])


def labels_of_anchors(
    matched_idxs: Sequence[Tensor], targets: Sequence[dict[str, Tensor]], otherwise: int
) -> Tensor:
    """(B, A): the label of each anchor's object, or `otherwise`; from the row of the object per anchor,
    negative for none: per image (A,)."""
    return torch.stack(
        [
            torch.where(matched >= 0, with_nothing(target["labels"])[matched.clamp(min=-1)], otherwise)
            for matched, target in zip(matched_idxs, targets, strict=True)
        ]
    )


def with_nothing(values: Tensor) -> Tensor:
    """The values (N, ...) of objects and a last row of zeros, so that there is one to take where there is no
    object."""
    return torch.cat([values, values.new_zeros(1, *values.shape[1:])])
