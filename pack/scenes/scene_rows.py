"""The rays of one eye through the layers of a scene, compiled by numba.

L layers, H height, W width. A pixel's surfaces are sorted by their nearness at that pixel, so surfaces may cross.
Along a row a layer's numbers are a line (LINE): what does not change from pixel to pixel.
"""

import math

import numpy as np

from pack.kernels.compiled import kernel

# Columns. Literals, because numba's cache would not notice a change of them elsewhere.
# numbers (L 17): 0-1 centre, 2-5 matrix, 6 nearness, 7-8 slope, 9-10 bend, 11 coverage pixels a pixel, 12 texture
# pixels a pixel, 13-14 texture origin, 15-16 half width and half height in the layer's own pixels
# places (L 6): 0-2 coverage: offset or -1, height, width; 3-5 texture: offset, height, width
# lines (L 15): 0 centre x; 1 nearness there, 2 its slope, 3 its bend along the row; 4-7 the layer's own u and v: per
# pixel of the row and at centre x; 8 nearness of the layer's centre from FAR; 9-10 first and last column of the left
# eye, 11-12 of this one; 13 column of this eye that the left eye has at centre x; 14 slope of columns
# hits (7): 0 nearness, 1 coverage, 2 column of the left eye, 3 layer, 4-5 place in the texture, 6 its shrinking
FAR = 0.35  # as in pack.scenes.layers
LEAST = 1 / 512  # coverage that cannot be seen
LEVELS = 3  # of a texture, each half as wide as the one before
BLOCK = 32  # pixels of a row that share a list of layers


@kernel
def see_rows(numbers, places, coverages, textures, light, shift, offset, colour, depth, hidden, outside):
    """Add what an eye sees to colour, float32 (H W 3).

    A surface of nearness n that the left eye sees at x is at x - n * shift + offset. depth float32 (H W), if it is
    not empty, becomes the nearness of the surface with which half of a pixel is covered; hidden and outside, bool
    (H W), if they are not empty, whether more than half of it is seen by this eye alone, and is beyond the borders
    of the other.
    """
    height, width = colour.shape[:2]
    count = len(numbers)
    lines, active, beside = np.empty((count, 15)), np.empty(count, np.int64), np.empty(count, np.int64)
    hits = np.empty(BLOCK, np.int64)  # surfaces at each pixel of a block
    found = np.empty((BLOCK, count, 7))  # and of each of them, nearest first, numbers as above
    for y in range(height):
        _set_lines(numbers, y, shift, offset, lines)
        for first in range(0, width, BLOCK):
            last = min(first + BLOCK, width)
            hits[:] = 0
            low, high = np.inf, -np.inf
            for i in range(_overlapping(lines, 11, first, last - 1, active)):
                k = active[i]
                _find(lines, numbers, places, coverages, k, first, last, shift, hits, found)
                low = min(low, _left_position(first, lines[k, 0], lines[k, 13], lines[k, 14], shift * lines[k, 3]))
                high = max(high, _left_position(last, lines[k, 0], lines[k, 13], lines[k, 14], shift * lines[k, 3]))
            _paint(places, textures, light, y, hits, found, colour[y, first:last])
            if len(depth):
                _measure(hits, found, depth[y, first:last])
            if len(hidden):
                others = beside[: _overlapping(lines, 9, low, high, beside)]
                pair = (hidden[y, first:last], outside[y, first:last])
                _compare(lines, numbers, places, coverages, others, width, hits, found, pair)


@kernel
def _set_lines(numbers, y, shift, offset, lines):
    for k in range(len(numbers)):
        dy = y - numbers[k, 1]
        lines[k, 0] = numbers[k, 0]
        lines[k, 1] = numbers[k, 6] + (numbers[k, 8] + numbers[k, 10] * dy) * dy
        lines[k, 2], lines[k, 3] = numbers[k, 7], numbers[k, 9]
        lines[k, 4], lines[k, 5] = numbers[k, 2], numbers[k, 3] * dy
        lines[k, 6], lines[k, 7] = numbers[k, 4], numbers[k, 5] * dy
        lines[k, 8] = numbers[k, 6] + FAR
        lines[k, 13] = numbers[k, 0] - lines[k, 1] * shift + offset
        lines[k, 14] = 1 - shift * lines[k, 2]
        low, high = _clip(lines[k, 4], lines[k, 5], numbers[k, 15], -np.inf, np.inf)
        low, high = _clip(lines[k, 6], lines[k, 7], numbers[k, 16], low, high)
        lines[k, 9], lines[k, 10] = numbers[k, 0] + low, numbers[k, 0] + high
        lines[k, 11], lines[k, 12] = lines[k, 9], lines[k, 10]
        if -np.inf < low <= high < np.inf:
            lines[k, 11] = lines[k, 13] + (lines[k, 14] - shift * lines[k, 3] * low) * low - 1
            lines[k, 12] = lines[k, 13] + (lines[k, 14] - shift * lines[k, 3] * high) * high + 1


@kernel
def _clip(rise, start, most, low, high):
    """The part of [low, high] where start + rise * x is within most of 0."""
    if most == np.inf:
        return low, high
    if abs(rise) < 1e-9:
        return (low, high) if abs(start) <= most else (1.0, 0.0)
    one, other = (-most - start) / rise, (most - start) / rise
    return max(low, min(one, other)), min(high, max(one, other))


@kernel
def _overlapping(lines, column, first, last, found):
    """The layers that may cover something of [first, last]; returns how many."""
    count = 0
    for k in range(len(lines)):
        if lines[k, column] <= last and lines[k, column + 1] >= first:
            found[count] = k
            count += 1
    return count


@kernel
def _find(lines, numbers, places, coverages, k, first, last, shift, hits, found):
    """Add a layer to the sorted surfaces of a block's pixels; surfaces behind an opaque one are dropped."""
    centre, start, linear, bend = lines[k, 0], lines[k, 13], lines[k, 14], shift * lines[k, 3]
    nearness, slope, curve, at_centre = lines[k, 1], lines[k, 2], lines[k, 3], lines[k, 8]
    ux, u0, vx, v0 = lines[k, 4], lines[k, 5], lines[k, 6], lines[k, 7]
    finer, texture_finer, texture_u, texture_v = numbers[k, 11], numbers[k, 12], numbers[k, 13], numbers[k, 14]
    place, high, wide = places[k, 0], places[k, 1], places[k, 2]
    for x in range(first, last):
        pixel = x - first
        at, i = _left_position(x, centre, start, linear, bend), hits[pixel]
        dx = at - centre
        n = nearness + (slope + curve * dx) * dx
        if not n + FAR >= 0.1 * at_centre:  # beyond the horizon of the plane
            continue
        if i and n <= found[pixel, i - 1, 0] and found[pixel, i - 1, 1] > 1 - LEAST:
            continue
        scale = at_centre / (n + FAR)  # farther points are closer together
        u, v = (ux * dx + u0) * scale, (vx * dx + v0) * scale
        a = _coverage(coverages, place, high, wide, u * finer, v * finer)
        if a < LEAST:
            continue
        while i > 0 and found[pixel, i - 1, 0] < n:
            if a <= 1 - LEAST:
                for column in range(7):
                    found[pixel, i, column] = found[pixel, i - 1, column]
            i -= 1
        found[pixel, i, 0], found[pixel, i, 1], found[pixel, i, 2], found[pixel, i, 3] = n, a, at, k
        found[pixel, i, 4], found[pixel, i, 5] = u * texture_finer + texture_u, v * texture_finer + texture_v
        found[pixel, i, 6] = texture_finer * scale
        hits[pixel] = i + 1 if a > 1 - LEAST else hits[pixel] + 1


@kernel
def _left_position(x, centre, start, linear, bend):
    """Where the left eye has the point of a surface that this eye has at x; not a number where there is none."""
    right = x - start  # = z - (slope z + bend z^2) shift, for z from the centre
    if bend == 0:
        return centre + right / linear
    root = linear * linear - 4 * bend * right
    return centre + 2 * right / (linear + math.sqrt(root)) if root >= 0 else np.nan


@kernel
def _coverage(coverages, start, height, width, u, v):
    """How much a layer covers, u and v being coverage pixels from its middle."""
    if start < 0:
        return 1.0
    u, v = u + (width - 1) * 0.5, v + (height - 1) * 0.5
    if not (0 <= u < width - 1 and 0 <= v < height - 1):
        return 0.0
    i, j = int(u), int(v)
    du, dv = u - i, v - j
    above = np.uint64(start + j * width + i)
    below, one = above + np.uint64(width), np.uint64(1)
    top = coverages[above] * (1 - du) + coverages[above + one] * du
    bottom = coverages[below] * (1 - du) + coverages[below + one] * du
    return (top * (1 - dv) + bottom * dv) * (1 / 255)


@kernel
def _paint(places, textures, light, y, hits, found, colour):
    """Add the surfaces' colours, each weighted by the transparency of those in front of it."""
    base, across = light[0] + light[2] * y, light[1]
    for x in range(len(colour)):
        rest, red, green, blue = 1.0, 0.0, 0.0, 0.0
        for i in range(hits[x]):
            k = np.uint64(found[x, i, 3])
            u, v, shrunk = found[x, i, 4], found[x, i, 5], found[x, i, 6]
            weight = rest * found[x, i, 1] * (base + across * found[x, i, 2])
            r, g, b = _sample(textures, places[k, 3], places[k, 4], places[k, 5], u, v, shrunk)
            red, green, blue = red + weight * r, green + weight * g, blue + weight * b
            rest *= 1 - found[x, i, 1]
            if rest < LEAST:
                break
        whole = 1 / max(1 - rest, LEAST)
        colour[x, 0] += np.float32(red * whole)
        colour[x, 1] += np.float32(green * whole)
        colour[x, 2] += np.float32(blue * whole)


@kernel
def _measure(hits, found, depth):
    """The nearness of the surface with which half of each pixel is covered."""
    for x in range(len(depth)):
        rest, depth[x] = 1.0, 0.0
        for i in range(hits[x]):
            if rest > 0.5:
                depth[x] = found[x, i, 0]
            rest *= 1 - found[x, i, 1]


@kernel
def _compare(lines, numbers, places, coverages, others, width, hits, found, pair):
    """Whether more than half of each pixel is hidden from the left eye, or beyond its borders."""
    hidden, outside = pair
    for x in range(len(hidden)):
        rest, seen, beyond = 1.0, 0.0, 0.0
        for i in range(hits[x]):
            n, alpha, at, k = found[x, i, 0], found[x, i, 1], found[x, i, 2], int(found[x, i, 3])
            if at < -0.5 or at > width - 0.5:
                beyond += rest * alpha
            else:
                through = (
                    _transmittance(lines, numbers, places, coverages, others, at, k, n) if len(others) > 1 else 1.0
                )
                seen += alpha * min(rest, through)
            rest *= 1 - alpha
            if rest < LEAST:
                break
        whole = 1 / max(1 - rest, LEAST)
        outside[x] = beyond * whole > 0.5
        hidden[x] = 1 - (beyond + seen) * whole > 0.5


@kernel
def _transmittance(lines, numbers, places, coverages, others, x, own, nearness):
    """How much of a surface the left eye sees through those in front of it."""
    through = 1.0
    for k in others:
        if k == own or not lines[k, 9] <= x <= lines[k, 10]:
            continue
        dx = x - lines[k, 0]
        n = lines[k, 1] + (lines[k, 2] + lines[k, 3] * dx) * dx
        if n > nearness and n + FAR >= 0.1 * lines[k, 8]:
            scale = lines[k, 8] / (n + FAR) * numbers[k, 11]
            u, v = (lines[k, 4] * dx + lines[k, 5]) * scale, (lines[k, 6] * dx + lines[k, 7]) * scale
            through *= 1 - _coverage(coverages, places[k, 0], places[k, 1], places[k, 2], u, v)
            if through < LEAST:
                return 0.0
    return through


@kernel
def _sample(textures, start, height, width, u, v, shrunk):
    """The colour of a texture, between two levels of it where it is shrunk."""
    if shrunk <= 1.2:
        return _bilinear(textures, start, height, width, u, v)
    level = min(math.log2(shrunk), LEVELS - 1.001)
    for _ in range(int(level)):
        start, height, width = start + height * width, height // 2, width // 2
        u, v = u * 0.5 - 0.25, v * 0.5 - 0.25
    share = level - int(level)
    r, g, b = _bilinear(textures, start, height, width, u, v)
    start, height, width = start + height * width, height // 2, width // 2
    r2, g2, b2 = _bilinear(textures, start, height, width, u * 0.5 - 0.25, v * 0.5 - 0.25)
    return r + (r2 - r) * share, g + (g2 - g) * share, b + (b2 - b) * share


@kernel
def _bilinear(textures, start, height, width, u, v):
    i, j = math.floor(u), math.floor(v)
    du, dv = u - i, v - j
    left, right, above, below = i, i + 1, j, j + 1
    if not (0 <= i < width - 1):
        left, right = _folded(i, width), _folded(i + 1, width)
    if not (0 <= j < height - 1):
        above, below = _folded(j, height), _folded(j + 1, height)
    above, below = start + above * width, start + below * width
    p, q = np.uint64(above + left), np.uint64(above + right)
    r, s = np.uint64(below + left), np.uint64(below + right)
    a, b, c, d = (1 - du) * (1 - dv), du * (1 - dv), (1 - du) * dv, du * dv
    red = textures[p, 0] * a + textures[q, 0] * b + textures[r, 0] * c + textures[s, 0] * d
    green = textures[p, 1] * a + textures[q, 1] * b + textures[r, 1] * c + textures[s, 1] * d
    blue = textures[p, 2] * a + textures[q, 2] * b + textures[r, 2] * c + textures[s, 2] * d
    return red, green, blue


@kernel
def _folded(i, size):  # pixels beyond the border are those of a mirror
    i = i % (2 * size)
    return i if i < size else 2 * size - 1 - i
