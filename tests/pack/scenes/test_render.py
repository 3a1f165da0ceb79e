from dataclasses import replace

import numpy as np
import pytest

from pack.scenes.layers import FAR, Layer, Look, mirrored, pose
from pack.scenes.render import LEAST_RANGE, render
from pack.scenes.scene import draw_scene
from tests.support.media.scenes import card, picture, simple_scene, textures

CLEAN = Look()


def ramp(width=64):
    """A texture whose brightness is its column, so that a frame says which column each pixel shows."""
    return np.repeat(np.arange(0, 4 * width, 4, dtype=np.uint8)[None, :, None], 8, 0).repeat(3, 2)


def test_every_pixel_of_a_plane_moves_by_the_formula():
    plane = Layer(ramp(), None, (31.5, 15.5), 0.5, slope=(0.004, 0.02), origin=(31.5, 4))
    scene = simple_scene(background=plane, convergence=0.3)
    for way in (scene, replace(scene, divergence=-10.0)):
        rendered = render(way)
        x = np.tile(np.arange(64.0), (32, 1))
        shift = (rendered.nearness[0] - rendered.convergence) * rendered.divergence / 100 * 64
        for row in range(32):
            there = x[row] - shift[row]
            inside = (x[row] > there[0] + 1) & (x[row] < there[-1] - 1)
            expected = np.interp(x[row], there, rendered.left[0, row, :, 0].astype(float))
            assert np.abs(rendered.right[0, row, :, 0] - expected)[inside].max() <= 2.5


def test_nearness_of_a_plane_is_affine_and_that_of_a_bent_surface_quadratic():
    plane = Layer(picture(), None, (31.5, 15.5), 0.5, slope=(0.004, 0.02), bend=(1e-4, -2e-4))
    y, x = np.mgrid[:32, :64] - np.array([15.5, 31.5])[:, None, None]
    expected = 0.5 + 0.004 * x + 0.02 * y + 1e-4 * x**2 - 2e-4 * y**2
    expected = (expected - expected.min()) / max(np.ptp(expected), LEAST_RANGE)
    assert np.allclose(render(simple_scene(background=plane)).nearness[0], expected, atol=1e-5)


def test_a_scene_of_one_surface_uncovers_nothing():
    for slope in ((0, 0), (0.004, 0.01), (-0.004, 0)):
        assert not render(simple_scene(background=Layer(picture(), None, (31.5, 15.5), 0.5, slope))).uncovered.any()


def test_pixels_that_a_near_card_hides_in_the_left_eye_are_right_of_it_in_the_right_eye():
    rendered = render(simple_scene(card()))  # columns 23 to 37 of the left eye; wall +3.2, card -3.2 pixels
    row = rendered.uncovered[0, 16]
    assert set(np.flatnonzero(row)) == set(range(34, 41))
    assert not rendered.uncovered[0, :8].any()


def brute_force(scene, finer=16):
    """Which pixels of the right eye show a point that the left eye has hidden: by points and a z-buffer."""
    hidden = np.zeros((scene.height, scene.width), bool)
    x = np.arange(-40 * finer, (scene.width + 40) * finer) / finer
    inside = (x >= -0.5) & (x <= scene.width - 0.5)
    for y in range(scene.height):
        found = np.stack([surface(layer, pose(layer, scene, 0), x, y) for layer in scene.layers])  # (L X)
        buffer = np.full(scene.width, -np.inf)
        for nearness in found:
            there = np.where(np.isfinite(nearness), x - (nearness - scene.convergence) * scene.shift, 0.25)
            for i in np.flatnonzero(np.abs(there - np.rint(there)) <= 0.5 / finer):
                at = round(there[i])
                if 0 <= at < scene.width and nearness[i] > buffer[at]:
                    buffer[at] = nearness[i]
                    hidden[y, at] = inside[i] and nearness[i] < found[:, i].max() - 1e-9
    return hidden


def surface(layer, at, x, y):
    """Nearness of a layer with hard edges at points of the left eye, minus infinity where it does not cover them."""
    dx, dy = x - at.centre[0], y - at.centre[1]
    nearness = at.nearness + at.slope[0] * dx + at.slope[1] * dy
    scale = (at.nearness + FAR) / (nearness + FAR)
    u, v = scale * (at.matrix[0] * dx + at.matrix[1] * dy), scale * (at.matrix[2] * dx + at.matrix[3] * dy)
    if layer.coverage is None:
        return nearness
    high, wide = (size / 2 - 1 for size in layer.coverage.shape)
    return np.where((np.abs(u) < wide) & (np.abs(v) < high), nearness, -np.inf)


def test_what_one_eye_alone_sees_is_that_of_a_z_buffer():
    cards = (
        card((20, 14), 0.6, slope=(0.003, 0.002)),
        card((31, 18), 1.0, 20, 4),
        card((44, 16), 0.8, angle=0.4),
        card((48, 18), 0.35, 20, 20),
    )
    scene = simple_scene(*cards, frames=1)
    differ = render(scene).uncovered[0] != brute_force(scene)
    assert brute_force(scene).sum() > 150
    assert differ.mean() < 0.01  # pixels that are half covered
    assert not (differ[1:, 1:] & differ[1:, :-1] & differ[:-1, 1:] & differ[:-1, :-1]).any()  # a border is a line


@pytest.mark.parametrize("seed", range(6))
def test_a_mirrored_scene_gives_the_mirrored_result(seed):
    scene = replace(draw_scene(seed, textures(), 40, 64, 2), look=CLEAN)
    one, other = render(scene), render(mirrored(scene))
    for name in ("left", "right"):
        mine, theirs = getattr(one, name).astype(int), getattr(other, name)[:, :, ::-1].astype(int)
        assert (np.abs(mine - theirs) > 1).mean() < 0.001
    assert np.abs(one.nearness - other.nearness[:, :, ::-1]).mean() < 1e-4
    assert (one.uncovered != other.uncovered[:, :, ::-1]).mean() < 0.001


def test_both_eyes_see_a_surface_at_the_convergence_in_the_same_place():
    scene = simple_scene(card(nearness=1.0), convergence=1.0)
    rendered = render(scene)
    assert np.array_equal(rendered.left[:, 12:20, 25:35], rendered.right[:, 12:20, 25:35])


def test_motion_blur_is_the_mean_of_sharp_moments():
    moving = card(velocity=(6.0, 0.0))
    look = Look(shutter=0.5, exposures=3)
    blurred = render(simple_scene(moving, look=look)).left[0].astype(float)
    moments = [
        render(simple_scene(replace(moving, centre=(30 + 6 * 0.5 * offset, 16)))).left[0].astype(float)
        for offset in (-1 / 3, 0, 1 / 3)
    ]
    assert np.abs(blurred - np.mean(moments, 0)).max() <= 1


def test_a_half_transparent_pane_shows_half_of_what_is_behind_it():
    pane = card()
    glass = replace(pane, coverage=pane.coverage // 2)
    alone, behind = render(simple_scene(pane)).left[0], render(simple_scene()).left[0]
    mixed = render(simple_scene(glass)).left[0].astype(float)
    share = 127 / 255
    assert np.abs(mixed - (share * alone + (1 - share) * behind.astype(float))).max() <= 1
