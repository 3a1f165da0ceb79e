"""PNG's filters undone row by row, compiled by numba (PNG specification, section 9)."""

import numpy as np

from pack.kernels.compiled import kernel

NOTHING, LEFT, ABOVE, MEAN, PAETH = range(5)  # what was subtracted from each byte
CHANNELS = 3


@kernel
def unfilter(rows, pixels):  # uint8 (H 1 + 3 W), each row after its filter's number; fills uint8 (H, at most 3 W)
    """The pixels of the left part of these rows, the image's first. False where a filter is unknown."""
    n = pixels.shape[1]
    above = np.zeros(n, np.uint8)
    for y in range(len(pixels)):
        name, row, to = rows[y, 0], rows[y, 1:], pixels[y]
        if name == NOTHING:
            to[:] = row[:n]
        elif name == LEFT:
            to[:CHANNELS] = row[:CHANNELS]
            for i in range(CHANNELS, n):
                to[i] = row[i] + to[i - CHANNELS]
        elif name == ABOVE:
            for i in range(n):
                to[i] = row[i] + above[i]
        elif name == MEAN:
            for i in range(n):
                left = to[i - CHANNELS] if i >= CHANNELS else 0
                to[i] = row[i] + (left + above[i]) // 2
        elif name == PAETH:
            _paeth_row(row, above, to)
        else:
            return False
        above = to
    return True


@kernel
def _paeth_row(row, above, to):
    red = green = blue = np.int32(0)  # of the pixel to the left
    corner_red = corner_green = corner_blue = np.int32(0)  # of the pixel above that
    for i in range(0, len(to), CHANNELS):
        above_red, above_green, above_blue = np.int32(above[i]), np.int32(above[i + 1]), np.int32(above[i + 2])
        red = (row[i] + _paeth(red, above_red, corner_red)) & 255
        green = (row[i + 1] + _paeth(green, above_green, corner_green)) & 255
        blue = (row[i + 2] + _paeth(blue, above_blue, corner_blue)) & 255
        to[i], to[i + 1], to[i + 2] = red, green, blue
        corner_red, corner_green, corner_blue = above_red, above_green, above_blue


@kernel
def _paeth(left, above, corner):
    """Whichever is nearest to left + above - corner, the first one on ties."""
    to_left, to_above = abs(above - corner), abs(left - corner)
    to_corner = abs(left + above - 2 * corner)
    best = above if to_above <= to_corner else corner
    return left if to_left <= min(to_above, to_corner) else best
