"""How both eyes share a picture, and what players recognise it by.

H height, W width of one eye's view.
"""

from dataclasses import dataclass
from typing import Literal

import torch

Name = Literal["sbs", "half-sbs", "tab", "half-tab", "anaglyph", "right"]
Order = Literal["lr", "rl"]


@dataclass(frozen=True)
class Layout:
    """A layout as files and people know it."""

    suffix: str  # of the film's name: iw3's at the end, and the words that Kodi and media servers look for
    stereo_mode: str  # Matroska's StereoMode, in FFmpeg's words; "" for none
    words: str


LAYOUTS: dict[tuple[Name, Order], Layout] = {
    ("sbs", "lr"): Layout("_3D_LRF_Full_SBS", "left_right", "side by side, left eye first"),
    ("sbs", "rl"): Layout("_3D_RLF_cross", "right_left", "side by side, right eye first"),
    ("half-sbs", "lr"): Layout("_3D_HSBS_LR", "left_right", "side by side at half the width, left eye first"),
    ("half-sbs", "rl"): Layout("_3D_RL", "right_left", "side by side at half the width, right eye first"),
    ("tab", "lr"): Layout("_3D_TAB_TBF_fulltb", "top_bottom", "top and bottom, left eye on top"),
    ("tab", "rl"): Layout("_3D_BTF_fullbt", "bottom_top", "top and bottom, right eye on top"),
    ("half-tab", "lr"): Layout("_3D_HTAB_TB", "top_bottom", "top and bottom at half the height, left eye on top"),
    ("half-tab", "rl"): Layout("_3D_BT", "bottom_top", "top and bottom at half the height, right eye on top"),
    ("anaglyph", "lr"): Layout("_redcyan", "anaglyph_cyan_red", "red left eye, cyan right eye"),
    ("anaglyph", "rl"): Layout("_cyanred", "", "cyan left eye, red right eye"),
    ("right", "lr"): Layout("_right", "", "the right eye alone"),
}


def compose(
    name: Name, left: torch.Tensor, right: torch.Tensor, order: Order = "lr"
) -> torch.Tensor:  # (3 H W) x 2 -> (3 H' W')
    """Both eyes in one picture: side by side, one on top, either at half the size, red and cyan, or the right alone.

    In the order "rl" the right eye is first, on top, or red.
    """
    if name == "right":
        return right
    first, second = (left, right) if order == "lr" else (right, left)
    if name == "anaglyph":
        return torch.cat((first[:1], second[1:]))
    if name.startswith("half-"):
        height, width = left.shape[-2:]
        size = (height, (width + 1) // 2) if name == "half-sbs" else ((height + 1) // 2, width)
        first, second = (
            torch.nn.functional.interpolate(eye[None], size, mode="bilinear", antialias=True)[0]
            for eye in (first, second)
        )
    return torch.cat((first, second), -1 if name.endswith("sbs") else -2)
