"""Which holes are crossed by the picture's edges, by the definition written out run by run."""

import numpy as np
import pytest

from pack.holes.placement import crossed_share, edges


def picture(*columns, width=64, height=4, frames=5):  # each (first column, grey level) to the right
    made = np.zeros((frames, height, width, 3), np.uint8)
    for x, level in columns:
        made[:, :, x:] = level
    return made


def hole(first, end, like):
    made = np.zeros(like.shape[:3], bool)
    made[:, :, first:end] = True
    return made


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
def test_a_hole_that_begins_or_ends_at_the_outline_is_aligned(shift):
    frames = picture((30, 200))
    assert crossed_share(frames, hole(30 + shift, 50, frames)) == 0
    assert crossed_share(frames, hole(12, 30 + shift, frames)) == 0


def test_a_hole_over_the_outline_is_crossed_unless_a_stronger_edge_lies_at_its_end():
    frames = picture((30, 120))
    assert crossed_share(frames, hole(20, 45, frames)) == 1
    frames = picture((20, 200), (30, 120))
    assert crossed_share(frames, hole(20, 45, frames)) == 0


def test_runs_count_by_their_pixels():
    frames = picture((20, 120))
    holes = hole(14, 26, frames) | hole(36, 54, frames)  # 12 crossed pixels and 18 in plain ground
    assert crossed_share(frames, holes) == pytest.approx(12 / 30)


@pytest.mark.parametrize(("first", "end"), [(17, 22), (0, 40), (24, 64)])
def test_narrow_holes_and_those_at_the_frames_sides_are_not_counted(first, end):
    frames = picture((20, 120), (40, 60))
    assert crossed_share(frames, hole(first, end, frames)) == 0


def test_nothing_hidden_is_nothing_crossed():
    frames = picture((20, 120))
    assert crossed_share(frames, hole(0, 0, frames)) == 0


def one_by_one(frames, holes):
    """The definition, without arrays."""
    crossed = counted = 0
    for frame, mask in zip(frames[::4].astype(float), holes[::4], strict=True):
        for pixels, row in zip(frame, mask, strict=True):
            width = len(row)

            def step(x, pixels=pixels):
                return np.abs(pixels[x + 1 : x + 4].mean(0) - pixels[x - 4 : x - 1].mean(0)).mean()

            x = 0
            while x < width:
                start = x
                while x < width and row[x]:
                    x += 1
                if x - start >= 6 and start >= 6 and x <= width - 6:
                    ends = max(step(place + near) for place in (start, x) for near in range(-2, 3))
                    inside = max((step(place) for place in range(start + 4, x - 3)), default=0)
                    counted += x - start
                    crossed += (x - start) * (inside > ends)
                x = max(x, start + 1)
    return crossed / counted if counted else 0


@pytest.mark.parametrize("seed", range(4))
def test_arrays_give_what_the_definition_gives(seed):
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (9, 12, 80, 3), np.uint8)
    holes = np.repeat(random.random((9, 12, 10)) < 0.5, 8, 2)
    expected = one_by_one(frames, holes)
    assert 0.2 < expected < 0.95 and crossed_share(frames, holes) == pytest.approx(expected)


def test_an_edge_stands_between_the_last_pixel_of_one_side_and_the_first_of_the_other():
    found = edges(picture((30, 90)))
    assert found[0, 0].argmax() in (29, 30, 31) and found.max() == pytest.approx(90)
    assert not found[:, :, :4].any() and not found[:, :, -4:].any()
    assert not edges(picture(width=9)).any()
