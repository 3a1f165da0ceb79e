import pytest
import torch

from model.light_video_inpaint import LightVideoInpaint
from tests.support.golden_formulas import video
from tests.support.training.reference import filled

HOLES = {  # rows and columns of frames of 136 x 200 pixels, whose windows are 64 pixels wide
    "inside a window": (slice(20, 30), slice(80, 90)),
    "up to its soft border beside other windows": (slice(40, 57), slice(110, 121)),
    "over the corner of four": (slice(60, 70), slice(120, 140)),
    "at the last row and column": (slice(134, 136), slice(196, 200)),
    "one pixel": (slice(0, 1), slice(0, 1)),
    "everywhere": (slice(0, 136), slice(0, 200)),
}


@pytest.fixture(scope="module")
def net():
    return filled(LightVideoInpaint(base_dim=8)).eval()


@pytest.mark.parametrize("where", HOLES)
def test_what_is_shown_is_what_the_whole_decoder_computes(net, where):
    holes = torch.zeros(12, 1, 136, 200, dtype=torch.bool)
    holes[(slice(3, 9, 2), slice(None), *HOLES[where])] = True
    x, soft = net.preprocess(video(12, 136, 200), holes)
    with torch.no_grad():
        whole = net(x, soft, skip_offset=True)
    assert (whole != x).any()
    torch.testing.assert_close(net.infer(x, holes), whole, atol=1e-5, rtol=0)


def test_only_windows_with_holes_or_beside_them_are_decoded(net):
    decoded = {"to_image": 0, "up": 0}

    def count(name, images):
        decoded[name] += len(images)

    hooks = [
        network_part.register_forward_hook(lambda _, __, out, name=name: count(name, out))
        for name, network_part in (("to_image", net.to_image), ("up", net.up))
    ]
    holes = torch.zeros(12, 1, 136, 200, dtype=torch.bool)
    net.infer(video(12, 136, 200), holes)
    assert decoded == {"to_image": 0, "up": 0}
    holes[2, :, 90, 90] = True  # its border, 7 pixels wide, lies in the same window
    holes[5, :, 90, 120] = True  # its border reaches over column 124, whose token the next window needs
    net.infer(video(12, 136, 200), holes)
    assert decoded == {"to_image": 2, "up": 3}
    for hook in hooks:
        hook.remove()
