"""Curves that map normalised nearness to disparity, both in [0, 1], under iw3's names.

They use tensor methods only, so that a name can be checked without importing torch.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tools.cli import UserError

if TYPE_CHECKING:
    import torch

Curve = Callable[["torch.Tensor"], "torch.Tensor"]  # any shape in [0, 1] -> same shape in [0, 1]

FAR = 16.0  # distance at nearness 0 in the shift curves


def mapper(name: str) -> Curve:
    """The curve of this name: one of NAMES, "a:b" (a, then b) or "a+b=w" (a*(1-w) + b*w).

    Raises UserError for any other name.
    """
    if ":" in name:
        return partial(_chain, [mapper(part) for part in name.split(":")])
    if "+" in name:
        return _parse_mix(name)
    if name not in _CURVES:
        raise UserError(
            f'mapper "{name}" is unknown: use one of {", ".join(NAMES)}, or combine two as "a:b" or "a+b=0.5"'
        )
    return _CURVES[name]


def _parse_mix(name):
    pair, _, weight = name.partition("=")
    first, *second = pair.split("+")
    try:
        weight = float(weight or 0.5)
    except ValueError:
        weight = math.nan
    if len(second) != 1 or not 0 <= weight <= 1:
        raise UserError(f'mapper "{name}": expected two names and a weight from 0 to 1, such as "none+mul_1=0.25"')
    return partial(_mix, mapper(first), mapper(second[0]), weight)


def _chain(curves, x):
    for curve in curves:
        x = curve(x)
    return x


def _mix(first, second, weight, x):
    return first(x) * (1 - weight) + second(x) * weight


def _none(x):
    return x


def _pow2(x):
    return x**2


def _softplus(b, s, x):  # ln(1 + exp((x - b) s)), rescaled to run from 0 to 1
    low, high = (math.log1p(math.exp((end - b) * s)) for end in (0, 1))
    return ((((x - b) * s).exp() + 1).log() - low) / (high - low)


def _softplus2(b, s, x):
    return _softplus(b, s, x) ** 2


def _inverse_softplus(b, s, x):  # ln(exp((x - b) s) - 1), rescaled to run from 0 to 1
    low, high = (math.log(max(math.expm1((end - b) * s), 1e-6)) for end in (0, 1))
    return (((x - b) * s).expm1().clamp(min=1e-6).log() - low) / (high - low)


def _divide(c, x):  # 1 / distance for a distance that falls linearly with x; the smaller c, the deeper the foreground
    low = c / (1 + c)
    return (c / (1 + c - x) - low) / (1 - low)


def _shift(near, x):  # inverse distances from 1/FAR to 1/near interpolated, then the nearest point moved to distance 1
    far = 1 / (near + FAR)
    distance = 1 / (far + (1 / near - far) * x) + (1 - near)
    low = 1 / (1 + FAR)
    return (1 / distance - low) / (1 - low)


_CURVES: dict[str, Curve] = {
    "none": _none,
    "pow2": _pow2,
    "softplus": partial(_softplus, 0.5, 12),
    "softplus2": partial(_softplus2, 0.5, 12),
    "mul_1": partial(_softplus, 0.343, 12),
    "mul_2": partial(_softplus, 0.515, 12),
    "mul_3": partial(_softplus, 0.687, 12),
    "inv_mul_1": partial(_inverse_softplus, -0.002102, 7.8788),
    "inv_mul_2": partial(_inverse_softplus, -0.0003, 6.2626),
    "inv_mul_3": partial(_inverse_softplus, -0.0001, 3.4343),
    "div_25": partial(_divide, 2.5),
    "div_10": partial(_divide, 1),
    "div_6": partial(_divide, 0.6),
    "div_4": partial(_divide, 0.4),
    "div_2": partial(_divide, 0.2),
    "div_1": partial(_divide, 0.1),
    "shift_30": partial(_shift, 3),
    "shift_20": partial(_shift, 2),
    "shift_14": partial(_shift, 1.4),
    "shift_08": partial(_shift, 0.8),
    "shift_06": partial(_shift, 0.6),
    "shift_045": partial(_shift, 0.45),
}
NAMES = tuple(_CURVES)
