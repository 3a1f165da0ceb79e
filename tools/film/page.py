"""The certificate as one HTML page that needs no other file."""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tools.cli import plural
from tools.cli.files import read_small, write_file
from tools.evaluation.plots import agreement, bars
from tools.evaluation.report_page import html_table, whole_page
from tools.evaluation.summary import Interval
from tools.film.calibration import Calibration
from tools.film.certificate import Certificate, Gain
from tools.film.survey import Shot

BETTER, SAME = "#3c896d", "#edae49"  # a gain that is certain, one that is not
NETWORK, OTHER = "#1b6ca8", "#8a949e"  # networks, other methods
ROLES = {
    True: "Other held-out shots chose the tuned network.",
    False: "The same shots chose the tuned network, which flatters it slightly: the film has no others.",
}
METHODS = (
    "<i>Start</i> is the network before tuning. The other methods see one frame: navier-stokes and telea are OpenCV's "
    "inpainting; replicate and mirror copy or mirror the background beside the hole, and stretch stretches it."
)
MORE_STYLE = (
    ".verdict{border-left:6px solid;padding:.6em 1em;background:#f6f7f8;font-size:17px}"
    "h1{margin-bottom:.2em}h2{margin-top:1.6em}p{max-width:75ch}td:last-child{text-align:left}"
    ".facts td:first-child{color:#666}.facts td{text-align:left;overflow-wrap:anywhere}"
)


def write_page(
    path: Path,
    film: str,
    certificate: Certificate | None,
    reason: str,
    calibration: Calibration | None,
    facts: Mapping[str, str],
    shots: Sequence[Shot],
    pictures: Sequence[Path],
) -> None:
    """Write the page; without a certificate it says why there is none."""
    colour = BETTER if certificate and certificate.is_better else SAME
    parts = [
        f"<h1>{escape(film)}</h1>",
        f"<p class='verdict' style='border-color:{colour}'>{escape(reason[:1].upper() + reason[1:])}.</p>",
        *(held_out(certificate, shots) if certificate else []),
        *(errors(calibration) if calibration else []),
        "<h2>The film</h2>",
        f"<div class='facts'>{html_table([['', ''], *([name, value] for name, value in facts.items())])}</div>",
    ]
    for picture in pictures:
        data = base64.b64encode(read_small(picture)).decode()
        parts += [
            "<h2>The largest fills</h2>",
            "<p>From left to right: the frame, its holes in red, and what the network fills in. Each row is a close-up "
            "of one of the shots with the most holes, where they are largest. They are cut into the film's own frames, "
            "so the first picture is what a perfect fill would show.</p>",
            f"<img style='max-width:100%' alt='the largest fills' src='data:image/png;base64,{data}'>",
        ]
    write_file(path, whole_page(film, parts, MORE_STYLE).encode())


def held_out(found: Certificate, shots: Sequence[Shot]) -> list[str]:
    """What was measured on held-out shots."""
    return [
        "<h2>Did tuning help?</h2>",
        "<p>PSNR in holes, dB, on shots that tuning did not learn from. Holes were cut into the film's own frames, "
        "with the depth, strength and kind of the conversion, so what they hide is known; a flat film has no "
        "true second eye. More is better: 1 dB is 11 % less error (root mean square). Differences are paired by shot; "
        f"brackets and lines are 95 % confidence intervals (Student's t over the shots). {ROLES[found.apart]}</p>",
        f"<p>{METHODS}</p>",
        "<p>Green: the interval lies above 0, so the difference is certain. Yellow: it does not.</p>",
        bars([row(name, gain) for name, gain in gains(found)], 2),
        html_table([["difference", "dB"], *([name, str(gain)] for name, gain in gains(found))]),
        "<h2>By method: PSNR in holes, dB</h2>",
        bars([(label(name, found), exactly(value), colour_of(name, found)) for name, value in best_first(found)], 2),
        "<h2>By shot: PSNR in holes, dB</h2>",
        html_table(by_shot(found, shots)),
    ]


def gains(found: Certificate) -> list[tuple[str, Gain]]:
    """The three differences that matter."""
    return [
        ("tuned against start", found.against_start),
        (f"tuned against {found.fill}", found.against_fill),
        (f"start against {found.fill}", found.start_against_fill),
    ]


def row(name: str, gain: Gain) -> tuple[str, Interval, str]:
    """A bar of a difference."""
    colour = BETTER if gain.low > 0 else SAME
    known = math.isfinite(gain.high - gain.low)
    return name, Interval(gain.mean, *((gain.low, gain.high) if known else (math.nan, math.nan)), gain.shots), colour


def exactly(value: float) -> Interval:
    return Interval(value, math.nan, math.nan, 0)


def colour_of(name: str, found: Certificate) -> str:
    return NETWORK if name in (found.tuned, found.start) else OTHER


def label(name: str, found: Certificate) -> str:
    """What the page calls a method."""
    return {found.tuned: "tuned", found.start: f"start ({found.start})"}.get(name, name)


def best_first(found: Certificate) -> list[tuple[str, float]]:
    return sorted(found.means.items(), key=lambda item: -item[1])


def errors(found: Calibration) -> list[str]:
    """How well the error of fills is predicted."""
    return [
        "<h2>How far can fills be trusted?</h2>",
        "<p>The error that is expected of filled pixels, from the width of their hole, the spread between fills and "
        "the change in time, against the error that was measured, in levels of 255. Each held-out shot is predicted "
        f"from the other ones; each point is one of {len(found.curve)} equal shares of {found.pixels} filled pixels. "
        f"On the dashed line expectations are right. {escape(str(found)[:1].upper() + str(found)[1:])}.</p>",
        agreement(found.curve, "expected error", "measured error"),
    ]


def by_shot(found: Certificate, shots: Sequence[Shot]) -> list[list[str]]:
    """A line for each held-out shot."""
    names = [found.tuned, found.start, found.fill]
    return [
        ["shot", "from", "length", "tuned", "start", found.fill, "gain"],
        *(
            [
                str(number),
                f"{shots[number].seconds:.1f} s",
                plural(shots[number].frames, "frame"),
                *(f"{values[name]:.2f}" for name in names),
                f"{values[found.tuned] - values[found.start]:+.2f}",
            ]
            for number, values in found.shots.items()
        ),
    ]
