"""Both eyes share a picture in the way that the film's name and metadata say."""

import re
from typing import get_args

import pytest
import torch

from tools.synthesis.layouts import LAYOUTS, Name, compose

LEFT, RIGHT = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def test_layouts_show_both_eyes():
    assert torch.equal(compose("sbs", LEFT, RIGHT), torch.cat((LEFT, RIGHT), -1))
    assert torch.equal(compose("tab", LEFT, RIGHT), torch.cat((LEFT, RIGHT), -2))
    assert torch.equal(compose("right", LEFT, RIGHT), RIGHT)
    assert torch.equal(compose("anaglyph", LEFT, RIGHT), torch.stack((LEFT[0], RIGHT[1], RIGHT[2])))
    half = compose("half-sbs", LEFT, RIGHT)
    assert half.shape == (3, 8, 10)
    torch.testing.assert_close(half[..., :5].mean(), LEFT.mean(), atol=0.02, rtol=0)
    half = compose("half-tab", LEFT, RIGHT)
    assert half.shape == (3, 8, 10)
    torch.testing.assert_close(half[:, :4].mean(), LEFT.mean(), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["sbs", "half-sbs", "tab", "half-tab", "anaglyph"])
def test_the_other_order_swaps_the_eyes(name):
    assert torch.equal(compose(name, LEFT, RIGHT, "rl"), compose(name, RIGHT, LEFT))


def test_names_end_as_those_of_iw3():
    suffixes = {"sbs": "_LRF_Full_SBS", "half-sbs": "_LR", "tab": "_TBF_fulltb", "half-tab": "_TB"}
    for name, suffix in suffixes.items():
        assert LAYOUTS[name, "lr"].suffix.endswith(suffix)
    assert LAYOUTS["sbs", "rl"].suffix.endswith("_RLF_cross")


def test_kodi_recognises_the_names_of_layouts_whose_left_eye_is_first():
    for name, token in [("sbs", "sbs"), ("half-sbs", "hsbs"), ("tab", "tab"), ("half-tab", "htab")]:
        film = f"film{LAYOUTS[name, 'lr'].suffix}.mp4".lower()
        assert re.search(r"[-. _]3d[-. _]", film) and re.search(rf"[-. _]{token}[-. _]", film)
        assert not re.search(
            r"[-. _]h?(sbs|tab)[-. _]", LAYOUTS[name, "rl"].suffix.lower() + "."
        )  # eyes would be swapped


def test_every_layout_has_a_name_of_its_own():
    assert {name for name, _ in LAYOUTS} == set(get_args(Name))
    assert len({layout.suffix for layout in LAYOUTS.values()}) == len(LAYOUTS)
