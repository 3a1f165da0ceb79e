"""The certificate as one HTML page that needs no other file."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tools.cli import plural
from tools.cli.files import write_file
from tools.evaluation.report_page import STYLE, html_table
from tools.film.certificate import Certificate
from tools.film.survey import Shot


def write_page(
    path: Path,
    film: str,
    certificate: Certificate | None,
    reason: str,
    facts: Mapping[str, str],
    shots: Sequence[Shot],
    pictures: Sequence[Path],
) -> None:
    """Write the page; without a certificate it says why there is none."""
    parts = [f"<h1>{escape(film)}</h1>", f"<p><b>{escape(reason)}</b></p>"]
    if certificate:
        parts += [
            "<h2>Held-out shots</h2>",
            "<p>PSNR in holes, dB, on shots that tuning did not learn from. Holes were cut into the film's own frames, "
            "with the depth, strength and kind of the conversion, so what they hide is known; a flat film has no "
            "true second eye. Differences are paired by shot; brackets are 95 % confidence intervals (Student's t over "
            "the shots).</p>",
            html_table(gains(certificate)),
            "<h2>By method</h2>",
            html_table([["method", "PSNR in holes, dB"], *([n, f"{v:.2f}"] for n, v in best_first(certificate))]),
            "<h2>By shot</h2>",
            html_table(by_shot(certificate, shots)),
        ]
    parts += ["<h2>The film</h2>", html_table([["", ""], *([name, value] for name, value in facts.items())])]
    for picture in pictures:
        data = base64.b64encode(picture.read_bytes()).decode()
        parts.append(f"<h2>{escape(picture.stem)}</h2><img style='max-width:100%' src='data:image/png;base64,{data}'>")
    head = f"<meta charset='utf-8'><title>Backfill: {escape(film)}</title><style>{STYLE}</style>"
    text = f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"
    write_file(path, text.encode())


def gains(found: Certificate) -> list[list[str]]:
    """The three differences that matter."""
    return [
        ["difference", "dB [95 %]", "shots"],
        ["tuned against start", str(found.against_start), str(found.against_start.shots)],
        [f"tuned against {found.fill}, the best one-frame fill", str(found.against_fill), ""],
        [f"start against {found.fill}", str(found.start_against_fill), ""],
    ]


def best_first(found: Certificate) -> list[tuple[str, float]]:
    return sorted(found.means.items(), key=lambda item: -item[1])


def by_shot(found: Certificate, shots: Sequence[Shot]) -> list[list[str]]:
    """A line for each held-out shot."""
    names = [found.tuned, found.start, found.fill]
    return [
        ["shot", "from", "length", "tuned", "start", found.fill],
        *(
            [
                str(number),
                f"{shots[number].seconds:.1f} s",
                plural(shots[number].frames, "frame"),
                *(f"{row[name]:.2f}" for name in names),
            ]
            for number, row in found.shots.items()
        ),
    ]
