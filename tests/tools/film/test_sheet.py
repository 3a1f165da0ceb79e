"""The contact sheet shows holes where they are largest."""

import numpy as np
import torch

from tools.film.sheet import CLOSE, fill_record


def test_the_pictures_show_the_largest_holes_and_what_fills_them():
    frames = np.full((16, 256, 256, 3), 200, np.uint8)
    masks = np.zeros((16, 256, 256), np.uint8)
    masks[:, 10:14, 10:14] = 255
    masks[:, 200:240, 210:250] = 128  # hidden by two surfaces

    def black(colours, holes):
        return colours.masked_fill(holes, 0)

    frame, marked, fill = (np.asarray(p) for p in fill_record(frames, masks, black, torch.device("cpu")))
    assert frame.shape == marked.shape == fill.shape == (2 * CLOSE, 2 * CLOSE, 3) and (frame == 200).all()
    filled = (fill == 0).all(2)
    assert filled.sum() == (2 * 40) ** 2  # only the large hole, at twice its size
    assert np.array_equal(filled, (marked != 200).any(2))
