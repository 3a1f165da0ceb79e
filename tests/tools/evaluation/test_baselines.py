import pytest
import torch

from tools.evaluation import baselines
from tools.evaluation.baselines import (
    BASELINES,
    flow_propagation,
    mirror,
    nearest_frame,
    replicate,
    stretch,
    temporal_median,
)


def row(values):  # a picture of one row, the colours alike
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1).expand(-1, 3, -1, -1) / 100


def filled(fill, values):
    """What becomes of a row whose holes are written as None."""
    holes = torch.tensor([value is None for value in values]).view(1, 1, 1, -1)
    out = fill(row([value or 0 for value in values]), holes)
    return (out[0, 0, 0] * 100).round().int().tolist()


def pan(frames=6, size=48, step=2):  # a texture that moves to the left
    gen = torch.Generator().manual_seed(1)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 24, generator=gen), (size, 2 * size), mode="bicubic")
    return torch.cat([wide[..., step * t : step * t + size] for t in range(frames)]).clamp(0, 1)


@pytest.mark.parametrize("name", BASELINES)
def test_a_fill_changes_only_holes_and_never_reads_them(name):
    frames = pan()
    holes = torch.rand(6, 1, 48, 48, generator=torch.Generator().manual_seed(2)) < 0.2
    holes[:, :, 5] = True  # a row without a seen pixel
    out = BASELINES[name](frames.masked_fill(holes, 0), holes)
    assert torch.equal(out.masked_fill(holes, 0), frames.masked_fill(holes, 0))
    assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1


def test_replicate_takes_the_background_on_the_right():
    assert filled(replicate, [10, None, None, 20, 30]) == [10, 20, 20, 20, 30]
    assert filled(replicate, [10, 20, None, None]) == [10, 20, 20, 20]
    assert filled(replicate, [None, None]) == [0, 0]


def test_mirror_reflects_the_background_at_the_edge_of_the_hole():
    assert filled(mirror, [10, None, None, 20, 30, 40]) == [10, 30, 20, 20, 30, 40]
    assert filled(mirror, [None, None, None, 20, None, 40]) == [40, 40, 20, 20, 40, 40]


def test_stretch_doubles_the_width_of_the_background():
    assert filled(stretch, [10, None, None, None, None, 20, 30, 40, 50]) == [10, 20, 20, 30, 30, 20, 30, 40, 50]


def test_the_nearest_frame_that_shows_a_pixel_fills_it_and_the_earlier_of_two():
    frames = torch.arange(5.0).view(5, 1, 1, 1).expand(-1, 3, 1, 3) / 10
    holes = torch.zeros(5, 1, 1, 3, dtype=torch.bool)
    holes[2] = True
    holes[1, ..., 0] = True  # here frame 3 is nearer
    holes[:, ..., 1] = True  # nowhere seen: replicate
    out = nearest_frame(frames.masked_fill(holes, 0), holes)
    assert out[2, 0, 0, 0] == pytest.approx(0.3) and out[2, 0, 0, 2] == pytest.approx(0.1)
    assert out[0, 0, 0, 1] == out[0, 0, 0, 2]


def test_the_temporal_median_is_that_of_the_frames_that_show_the_pixel():
    frames = torch.tensor([0.9, 0.1, 0.2, 0.3]).view(4, 1, 1, 1).expand(-1, 3, 1, 2)
    holes = torch.zeros(4, 1, 1, 2, dtype=torch.bool)
    holes[0, ..., 0] = True
    assert temporal_median(frames.masked_fill(holes, 0), holes)[0, 0, 0, 0] == pytest.approx(0.2)


def test_flow_fills_holes_with_what_is_visible_in_neighbouring_frames():
    frames = pan()
    holes = torch.zeros(6, 1, 48, 48, dtype=torch.bool)
    holes[2:4, :, 15:35, 20:24] = True  # in the others the same place of the texture is seen
    masked = frames.masked_fill(holes, 0)
    errors = {
        fill: (fill(masked, holes) - frames).abs()[holes.expand_as(frames)].mean()
        for fill in (flow_propagation, replicate, nearest_frame)
    }
    assert errors[flow_propagation] < 0.3 * min(errors[replicate], errors[nearest_frame])


def test_flow_needs_no_opencv(monkeypatch):
    monkeypatch.setattr(baselines, "HAS_CV2", False)
    holes = torch.ones(2, 1, 48, 48, dtype=torch.bool)
    holes[..., 40:] = False
    frames = pan(1).expand(2, -1, -1, -1).masked_fill(holes, 0)  # nothing moves, so that nothing comes into view
    assert torch.equal(flow_propagation(frames, holes), replicate(frames, holes))
