"""RoIAlign by matrix products: what torchvision's op gives, quicker on a CPU where the maps are small.

With a fixed number of samples a bin, bilinear RoIAlign (arXiv 1703.06870) is separable: the average over the
samples of a bin is a weighted sum over rows of one over columns. Two batched products with the weights give
it, and autograd its gradient, both on all cores; torchvision's CPU kernel walks over the samples on one.
"""

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align

CELLS_LIMIT = 2048
"""On maps of more cells torchvision's kernel is quicker: a product touches every cell, the kernel only those
that it samples."""


class SeparableRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no types
    """torchvision's pooler that learns on a CPU with products; everywhere else it is torchvision's own."""

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        """Args: pool: has seen a batch, so that it knows the scales of its maps."""
        super().__init__(
            pool.featmap_names,
            pool.output_size,
            pool.sampling_ratio,
            canonical_scale=pool.canonical_scale,
            canonical_level=pool.canonical_level,
        )
        self.scales, self.map_levels = pool.scales, pool.map_levels

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Maps (N, C, H, W) by name and N tensors of boxes (r, 4), xyxy in pixels, to (R, C, h, w)."""
        maps = [x[name] for name in self.featmap_names if name in x]
        if not self.training or maps[0].device.type != "cpu" or self.sampling_ratio <= 0:
            pooled: Tensor = super().forward(x, boxes, image_shapes)
            return pooled
        with torch.autocast("cpu", enabled=False):
            return self._pool([one.float() if one.dtype.itemsize < 4 else one for one in maps], boxes)

    def _pool(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        levels = self.map_levels(boxes) if len(maps) > 1 else boxes[0].new_zeros(sum(map(len, boxes)))
        found: list[Tensor] = []
        rows: list[Tensor] = []
        begin = 0
        for image, mine in enumerate(boxes):
            here = levels[begin : begin + len(mine)]
            for level, (one, scale) in enumerate(zip(maps, self.scales, strict=True)):
                chosen = torch.where(here == level)[0]
                if len(chosen):
                    found.append(self._align(one[image], mine[chosen].detach(), scale))
                    rows.append(chosen + begin)
            begin += len(mine)
        if not found:
            return maps[0].new_zeros(0, maps[0].shape[1], *self.output_size) + 0.0 * maps[0].sum()
        return torch.cat(found)[torch.argsort(torch.cat(rows))]

    def _align(self, features: Tensor, boxes: Tensor, scale: float) -> Tensor:
        if features.shape[1] * features.shape[2] > CELLS_LIMIT:
            aligned: Tensor = roi_align(features[None], [boxes], self.output_size, scale, self.sampling_ratio)
            return aligned
        return separable_roi_align(features, boxes, self.output_size, scale, self.sampling_ratio)


def separable_roi_align(
    features: Tensor, boxes: Tensor, output_size: tuple[int, int], scale: float, samples: int
) -> Tensor:
    """`torchvision.ops.roi_align` of one image, with `aligned=False`.

    Args:
        features: (C, H, W).
        boxes: (r, 4), xyxy in pixels; no gradient goes to them, as in torchvision.
        output_size: bins (h, w).
        scale: cells of the map per pixel.
        samples: of a bin, along each side.

    Returns:
        (r, C, h, w).
    """
    x1, y1, x2, y2 = (boxes * scale).unbind(1)
    over_rows = bin_weights(y1, y2, output_size[0], samples, features.shape[1])  # (r, h, H)
    over_columns = bin_weights(x1, x2, output_size[1], samples, features.shape[2])  # (r, w, W)
    channels, height, width = features.shape
    count, bins, _ = over_rows.shape
    # Channels last, as the maps lie in memory: (H, W * C).
    lines = features.permute(1, 2, 0).reshape(height, width * channels)
    by_row = (over_rows.reshape(count * bins, height) @ lines).view(count, bins, width, channels)
    pooled = over_columns[:, None] @ by_row  # (r, h, w, C)
    return pooled.permute(0, 3, 1, 2)


def bin_weights(low: Tensor, high: Tensor, bins: int, samples: int, cells: int) -> Tensor:
    """(r, bins, cells): what each cell of a line of the map counts in each bin of boxes from `low` to `high`.

    A sample counts for the two cells around it, linearly. Up to one cell outside of the map it is moved onto
    the border, further outside it is nought: as in torchvision's kernel.
    """
    size = (high - low).clamp(min=1.0)
    steps = (torch.arange(bins * samples, dtype=low.dtype, device=low.device) + 0.5) / samples
    places = low[:, None] + steps * (size / bins)[:, None]  # (r, bins * samples)
    counts = ((places >= -1.0) & (places <= cells)).to(low.dtype) / samples
    places = places.clamp(0.0, cells - 1.0)
    before = places.floor()
    share = places - before
    before = before.long()
    after = (before + 1).clamp(max=cells - 1)
    weights = low.new_zeros(len(low), bins * samples, cells)
    weights.scatter_add_(2, before[..., None], ((1.0 - share) * counts)[..., None])
    weights.scatter_add_(2, after[..., None], (share * counts)[..., None])
    return weights.view(len(low), bins, samples, cells).sum(2)
