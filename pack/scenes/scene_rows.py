"""The rays of one eye through the layers of a scene, compiled by numba.

L layers, H height, W width. A pixel's surfaces are sorted by their nearness at that pixel, so surfaces may cross.
"""

import math

import numpy as np

from pack.kernels.compiled import kernel

# Columns of the layers' numbers. Literals, because numba's cache would not notice a change of them elsewhere.
# numbers (L 22): 0-1 centre, 2-5 matrix, 6 nearness, 7-8 slope, 9-10 bend, 11 coverage pixels a pixel, 12 texture
# pixels a pixel, 13-14 texture origin, 15-18 bounds: least x, greatest x, least y, greatest y
# places (L 6): 0-2 coverage: offset or -1, height, width; 3-5 texture: offset, height, width
FAR = 0.35  # as in pack.scenes.layers
LEAST = 1 / 512  # coverage that cannot be seen
LEVELS = 3  # of a texture, each half as wide as the one before


@kernel
def see_rows(numbers, places, coverages, textures, light, shift, offset, colour, depth, hidden, outside):
    """Add what an eye sees to colour, float32 (H W 3).

    A surface of nearness n that the left eye has at x stands at x - n * shift + offset. depth float32 (H W), if it is
    not empty, becomes the nearness of the surface with which half of a pixel is covered; hidden and outside, bool
    (H W), if they are not empty, whether more than half of it is seen by this eye alone, and stands beyond the borders
    of the other.
    """
    height, width = colour.shape[:2]
    count = len(numbers)
    active = np.empty(count, np.int64)
    hit, near = np.empty(count, np.int64), np.empty(count)
    alpha, left = np.empty(count), np.empty(count)
    for y in range(height):
        rows = 0
        for k in range(count):
            if numbers[k, 17] <= y <= numbers[k, 18]:
                active[rows] = k
                rows += 1
        for x in range(width):
            hits = _find(numbers, places, coverages, active[:rows], x, y, shift, offset, hit, near, alpha, left)
            rest, red, green, blue = 1.0, 0.0, 0.0, 0.0
            seen, beyond, deep = 0.0, 0.0, near[0] if hits else 0.0
            for i in range(hits):
                k = hit[i]
                if len(hidden):
                    if left[i] < -0.5 or left[i] > width - 0.5:
                        beyond += rest * alpha[i]
                    else:
                        through = _transmittance(numbers, places, coverages, active[:rows], left[i], y, k, near[i])
                        seen += alpha[i] * min(rest, through)
                weight = rest * alpha[i] * (light[0] + light[1] * left[i] + light[2] * y)
                r, g, b = _sample(numbers[k], places[k], textures, left[i], y, near[i])
                red, green, blue = red + weight * r, green + weight * g, blue + weight * b
                if rest > 0.5:
                    deep = near[i]
                rest *= 1 - alpha[i]
                if rest < LEAST:
                    break
            whole = 1 / max(1 - rest, LEAST)
            colour[y, x, 0] += red * whole
            colour[y, x, 1] += green * whole
            colour[y, x, 2] += blue * whole
            if len(depth):
                depth[y, x] = deep
            if len(hidden):
                outside[y, x] = beyond * whole > 0.5
                hidden[y, x] = 1 - (beyond + seen) * whole > 0.5


@kernel
def _find(numbers, places, coverages, active, x, y, shift, offset, hit, near, alpha, left):
    """The surfaces at a pixel of the eye, nearest first; returns how many."""
    count, opaque = 0, -np.inf
    for k in active:
        at = _left_position(numbers[k], x, y, shift, offset)
        if not numbers[k, 15] <= at <= numbers[k, 16]:
            continue
        n = _nearness(numbers[k], at, y)
        if n <= opaque:
            continue
        a = _coverage(numbers[k], places[k], coverages, at, y, n)
        if a < LEAST:
            continue
        if a > 1 - LEAST:
            opaque = n
        i = count
        while i > 0 and near[i - 1] < n:
            hit[i], near[i], alpha[i], left[i] = hit[i - 1], near[i - 1], alpha[i - 1], left[i - 1]
            i -= 1
        hit[i], near[i], alpha[i], left[i] = k, n, a, at
        count += 1
    return count


@kernel
def _left_position(layer, x, y, shift, offset):
    """Where the left eye has the point of a surface that this eye has at x; not a number where there is none."""
    if shift == 0:
        return x - offset
    dy = y - layer[1]
    at_centre = layer[6] + layer[8] * dy + layer[10] * dy * dy
    # z - (at_centre + slope z + bend z^2) shift + offset = x - centre for z = left x - centre
    linear, right = 1 - shift * layer[7], x - layer[0] + shift * at_centre - offset
    root = linear * linear - 4 * shift * layer[9] * right
    if root < 0 or linear <= 0:
        return np.nan
    return layer[0] + 2 * right / (linear + math.sqrt(root))


@kernel
def _nearness(layer, x, y):
    dx, dy = x - layer[0], y - layer[1]
    return layer[6] + (layer[7] + layer[9] * dx) * dx + (layer[8] + layer[10] * dy) * dy


@kernel
def _own_position(layer, x, y, n):
    """The place on the surface itself, in pixels around its centre; what is farther away stands closer together."""
    dx, dy = x - layer[0], y - layer[1]
    scale = (layer[6] + FAR) / (n + FAR)
    return (layer[2] * dx + layer[3] * dy) * scale, (layer[4] * dx + layer[5] * dy) * scale


@kernel
def _coverage(layer, place, coverages, x, y, n):
    if n + FAR < 0.1 * (layer[6] + FAR):  # beyond the horizon of the plane
        return 0.0
    if place[0] < 0:
        return 1.0
    u, v = _own_position(layer, x, y, n)
    u, v = u * layer[11] + (place[2] - 1) * 0.5, v * layer[11] + (place[1] - 1) * 0.5
    if not (0 <= u < place[2] - 1 and 0 <= v < place[1] - 1):
        return 0.0
    i, j = int(u), int(v)
    du, dv = u - i, v - j
    start = place[0] + j * place[2] + i
    top = coverages[start] * (1 - du) + coverages[start + 1] * du
    start += place[2]
    bottom = coverages[start] * (1 - du) + coverages[start + 1] * du
    return (top * (1 - dv) + bottom * dv) / 255


@kernel
def _transmittance(numbers, places, coverages, active, x, y, own, nearness):
    """How much of a surface the left eye sees through those before it."""
    through = 1.0
    for k in active:
        if k == own or not numbers[k, 15] <= x <= numbers[k, 16]:
            continue
        n = _nearness(numbers[k], x, y)
        if n > nearness:
            through *= 1 - _coverage(numbers[k], places[k], coverages, x, y, n)
            if through < LEAST:
                return 0.0
    return through


@kernel
def _sample(layer, place, textures, x, y, n):
    """The colour of a surface, between two levels of its texture where that is shrunk."""
    u, v = _own_position(layer, x, y, n)
    u, v = u * layer[12] + layer[13], v * layer[12] + layer[14]
    shrunk = layer[12] * (layer[6] + FAR) / (n + FAR)
    start, height, width = place[3], place[4], place[5]
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
    i0, i1 = _folded(i, width), _folded(i + 1, width)
    j0, j1 = start + _folded(j, height) * width, start + _folded(j + 1, height) * width
    a, b, c, d = (1 - du) * (1 - dv), du * (1 - dv), (1 - du) * dv, du * dv
    p, q, r, s = textures[j0 + i0], textures[j0 + i1], textures[j1 + i0], textures[j1 + i1]
    return (
        p[0] * a + q[0] * b + r[0] * c + s[0] * d,
        p[1] * a + q[1] * b + r[1] * c + s[1] * d,
        p[2] * a + q[2] * b + r[2] * c + s[2] * d,
    )


@kernel
def _folded(i, size):  # pixels beyond the border are those of a mirror
    i = int(i) % (2 * size)
    return i if i < size else 2 * size - 1 - i
