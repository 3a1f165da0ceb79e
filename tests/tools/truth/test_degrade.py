from dataclasses import replace

import numpy as np
import torch

from tools.truth.degrade import MODEL_SIDE, Degradation, degrade, draw_degradation

PERFECT = Degradation(blur=0, shift=(0, 0), noise=0, flicker=0, seed=0)


def step(height=90, width=160):  # -> float32 (2 H W), an edge down the middle
    nearness = np.zeros((2, height, width), np.float32)
    nearness[:, :, width // 2 :] = 1
    return nearness


def middle(depth):
    """Where a rising edge stands, as a share of the width."""
    return 1 - depth.mean().item()


def test_depth_has_the_size_that_a_model_gives_a_part_of_a_film():
    assert degrade(step(), 720, PERFECT).shape == (2, 1, round(90 * MODEL_SIDE / 720), round(160 * MODEL_SIDE / 720))
    assert degrade(step(), 300, PERFECT).shape == (2, 1, 90, 160)  # never larger than the frames


def test_without_errors_a_small_depth_keeps_its_edge_in_place():
    assert abs(middle(degrade(step(), 720, PERFECT)) - 0.5) < 1e-3


def test_a_shift_moves_the_edge_by_that_many_pixels_of_the_map():
    moved = degrade(step(), 300, replace(PERFECT, shift=(1.5, 0)))
    assert abs(middle(moved) - (0.5 + 1.5 / 160)) < 1e-4


def test_blur_softens_an_edge_and_keeps_its_place():
    soft = degrade(step(), 300, replace(PERFECT, blur=1.0))
    assert 3 <= ((soft[0, 0, 0] > 0.02) & (soft[0, 0, 0] < 0.98)).sum() <= 8
    assert abs(middle(soft) - 0.5) < 1e-4


def test_noise_is_small_smooth_and_the_same_for_the_same_seed():
    flat = np.full((4, 90, 160), 0.5, np.float32)
    how = replace(PERFECT, noise=0.02, flicker=0.01, seed=3)
    one, again = degrade(flat, 300, how), degrade(flat, 300, how)
    assert torch.equal(one, again) and not torch.equal(one, degrade(flat, 300, replace(how, seed=4)))
    assert 0 < (one - 0.5).abs().max() < 0.12
    assert one.diff(dim=-1).abs().max() < 0.01


def test_drawn_errors_keep_depth_within_its_range():
    for seed in range(10):
        depth = degrade(step(), 720, draw_degradation(np.random.default_rng(seed), seed))
        assert depth.dtype == torch.float32 and depth.min() >= 0 and depth.max() <= 1
