"""Pictures of the holes that each warp opens in a frame, under a line that names the warp."""

from collections.abc import Mapping
from fractions import Fraction

import torch
from PIL import Image

from tools.inspection.contact_sheet import beside, draw_frame, draw_text, stack

TILE = 320  # pixels, width of a picture


def draw_row(seconds: Fraction, frame: torch.Tensor, holes: Mapping[str, torch.Tensor]) -> Image.Image:
    """A frame (3 H W) with its holes, bool (1 H W) of each kind: a mask, and the frame under it, for each."""
    pixels = (frame * 255).round().byte().permute(1, 2, 0).numpy()
    return beside([_draw(f"{kind} at {float(seconds):.1f} s", pixels, mask) for kind, mask in holes.items()], group=1)


def _draw(title, pixels, mask):
    share = 100 * float(mask.float().mean())
    row = beside(draw_frame(pixels, (255 * mask[0].byte()).numpy(), TILE)[1:], group=2)
    return stack([draw_text([f"{title}: {share:.2f} % holes"], row.width), row])
