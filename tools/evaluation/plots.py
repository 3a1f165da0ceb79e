"""Plots as inline SVG, so that a page needs no other file."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from tools.evaluation.summary import Interval

COLOURS = (
    *("#1b6ca8", "#d1495b", "#3c896d", "#edae49", "#7b4b94", "#8d6a4f", "#5c6770", "#e07a5f"),
    *("#17becf", "#a3b18a", "#c2185b", "#1a237e", "#827717", "#00695c", "#ff7043", "#9e9e9e"),
)
DRAWN, BAR = 500, 22  # pixels: width of the drawing area beside names and figures, height of a bar
LETTER = 8.5  # upper bound of the mean width of a letter, pixels


def bars(rows: Sequence[tuple[str, Interval, str]], digits: int) -> str:
    """A bar chart of (name, interval, colour), each bar with its interval as a line and its mean as a number."""
    known = [v for _, i, _ in rows for v in (i.mean, i.low, i.high) if not math.isnan(v)]
    low, high = min([0.0, *known]), max([0.0, *known])
    scale, label = DRAWN / ((high - low) or 1), room(name for name, _, _ in rows)

    def x(value):
        return label + (value - low) * scale

    parts = [f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{BAR * len(rows)}" stroke="#888"/>']
    for number, (name, found, colour) in enumerate(rows):
        top = number * BAR
        parts.append(f'<text x="{label - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>')
        if math.isnan(found.mean):
            continue
        left, right = sorted((x(0), x(found.mean)))
        parts.append(f'<rect x="{left:.1f}" y="{top + 4}" width="{right - left:.1f}" height="14" fill="{colour}"/>')
        if not math.isnan(found.low):
            parts.append(
                f'<path d="M{x(found.low):.1f} {top + 11}H{x(found.high):.1f}" stroke="#222" stroke-width="2"/>'
            )
        figure = x(max(v for v in (0, found.mean, found.high) if not math.isnan(v))) + 6
        parts.append(f'<text x="{figure:.1f}" y="{top + 15}">{found.mean:.{digits}f}</text>')
    return _svg(label + DRAWN + 80, BAR * len(rows), parts)


def lines(groups: Sequence[str], curves: dict[str, tuple[Sequence[Interval], str]]) -> str:
    """A line plot over the groups with intervals; `curves` are (intervals, colour) by name."""
    height, left, right = 300, 50, 50 + DRAWN
    means = [v for found, _ in curves.values() for i in found for v in (i.mean, i.low, i.high) if not math.isnan(v)]
    if not means:
        return "<p>Nothing was measured.</p>"
    low, high = math.floor(min(means)), math.ceil(max(means))
    step = max(1, (high - low) // 6)

    def x(n):
        return left + (n + 0.5) * (right - left) / len(groups)

    def y(value):
        return 10 + (high - value) / ((high - low) or 1) * (height - 50)

    parts = []
    for tick in range(low, high + 1, step):
        parts.append(f'<path d="M{left} {y(tick):.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>')
    for n, group in enumerate(groups):
        parts.append(f'<text x="{x(n):.1f}" y="{height - 15}" text-anchor="middle">{escape(group)}</text>')
    for number, (name, (found, colour)) in enumerate(curves.items()):
        shift = 3 * (number - len(curves) / 2)  # so that intervals do not overlap
        points = [(x(n) + shift, i) for n, i in enumerate(found) if not math.isnan(i.mean)]
        path = " ".join(f"{px:.1f},{y(i.mean):.1f}" for px, i in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, i in points:
            if not math.isnan(i.low):
                parts.append(f'<path d="M{px:.1f} {y(i.low):.1f}V{y(i.high):.1f}" stroke="{colour}"/>')
        parts.append(f'<text x="{right + 12}" y="{20 + 18 * number}" fill="{colour}">{escape(name)}</text>')
    return _svg(right + 12 + room(curves), max(height, 18 * len(curves) + 20), parts)


def agreement(points: Sequence[tuple[float, float]], across: str, up: str) -> str:
    """A curve of (predicted, measured) values from 0 on, beside the line on which both are equal."""
    side, left, top = 300, 60, 10
    high = max([value for point in points for value in point], default=1) * 1.05 or 1
    step = nice_step(high)

    def x(value):
        return left + value / high * side

    def y(value):
        return top + side - value / high * side

    parts = [f'<path d="M{x(0)} {y(0)}L{x(high)} {y(high)}" stroke="#aaa" stroke-dasharray="4 4"/>']
    for number in range(int(high / step) + 1):
        value = number * step
        grid = f"M{left} {y(value):.1f}H{left + side}M{x(value):.1f} {top}V{top + side}"
        parts.append(f'<path d="{grid}" stroke="#eee"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
        parts.append(f'<text x="{x(value):.1f}" y="{top + side + 18}" text-anchor="middle">{value:g}</text>')
    path = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
    parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{COLOURS[0]}"/>' for a, b in points]
    parts.append(f'<text x="{left + side / 2}" y="{top + side + 38}" text-anchor="middle">{escape(across)}</text>')
    middle = top + side / 2
    turned = f'transform="rotate(-90 14 {middle})" text-anchor="middle"'
    parts.append(f'<text x="14" y="{middle}" {turned}>{escape(up)}</text>')
    return _svg(left + side + 20, top + side + 50, parts)


def nice_step(high: float) -> float:
    """The distance of about five marks from 0 to `high`: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(high / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5.5 >= high)


def room(names: Iterable[str]) -> float:
    """The width that the longest name needs, pixels."""
    return 16 + LETTER * max(map(len, names), default=0)


def _svg(width, height, parts):
    return (
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" font-size="13" '
        f'font-family="sans-serif" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
