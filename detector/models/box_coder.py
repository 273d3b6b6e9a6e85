"""Boxes as offsets from anchors: torchvision's coder with constants that need not travel to a GPU."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder


class ResidentBoxCoder(BoxCoder):  # type: ignore[misc]  # torchvision has no types
    """Gives the bits of torchvision's coder. That makes tensors of its four weights and of one half, and for
    each a GPU is waited for; here they are numbers."""

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """Boxes and anchors, (N, 4) xyxy in pixels, to offsets (N, 4)."""
        place, size = _place_and_size(reference_boxes)
        anchor, anchor_size = _place_and_size(proposals)
        wx, wy, ww, wh = self.weights
        x, y = (place - anchor).unbind(1)
        across, down = anchor_size.unbind(1)
        wide, high = (size / anchor_size).log().unbind(1)
        return torch.stack((wx * x / across, wy * y / down, ww * wide, wh * high), dim=1)

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Offsets (N, K * 4) and anchors (N, 4) xyxy in pixels to boxes (N, K * 4)."""
        anchor, size = _place_and_size(boxes.to(rel_codes.dtype))
        wx, wy, ww, wh = self.weights
        dx, dy, dw, dh = (rel_codes[:, k::4] for k in range(4))  # (N, K) each
        x = dx / wx * size[:, :1] + anchor[:, :1]
        y = dy / wy * size[:, 1:] + anchor[:, 1:]
        half_width = 0.5 * ((dw / ww).clamp(max=self.bbox_xform_clip).exp() * size[:, :1])
        half_height = 0.5 * ((dh / wh).clamp(max=self.bbox_xform_clip).exp() * size[:, 1:])
        corners = (x - half_width, y - half_height, x + half_width, y + half_height)
        return torch.stack(corners, dim=2).flatten(1)


def _place_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes, (N, 2) each."""
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * size, size
