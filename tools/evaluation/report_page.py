"""report.html: what an evaluation found, with plots and moving pictures, in one page that needs no other file."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

from PIL import Image

from tools.evaluation.comparison import SPLIT, best_simple, by_width, figure, first_checkpoint, measured, rivals
from tools.evaluation.methods import Method
from tools.evaluation.plots import COLOURS, bars, lines
from tools.evaluation.summary import MEASURES, WIDTHS, Rows
from train.evaluation.metrics import as_uint8

STYLE = """body{font:15px/1.5 sans-serif;max-width:1280px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px;margin:.5em 0}td,th{padding:3px 9px;border-bottom:1px solid #ddd;
text-align:right;vertical-align:top}td:first-child,th:first-child{text-align:left}td:first-child{white-space:nowrap}
small{color:#666}td small{display:block;white-space:nowrap}th{vertical-align:bottom}
figure{display:inline-block;vertical-align:top;margin:3px;width:224px}figure img{width:100%;image-rendering:pixelated}
figcaption{font-size:12px}.wide{overflow-x:auto}
svg{max-width:100%;height:auto}h1,h3,p,figcaption{overflow-wrap:anywhere}"""


def as_html(rows: Rows, methods: Sequence[Method], pictures, notes: Sequence[str], config) -> str:
    """One page that needs no other file."""
    colours = {m.name: COLOURS[n % len(COLOURS)] for n, m in enumerate(methods)}
    psnr = MEASURES["hole_psnr"]
    parts = [
        f"<h1>{escape(config.data)}</h1><p>{len(rows.clips)} clips of {escape(', '.join(rows.groups('video')))}. "
        "Brackets hold 95 % of the means of clips drawn again (paired bootstrap). Pixels that are hidden in the flat "
        "picture itself were filled again; this is not a true second eye, which make evaluate-stereo measures.</p>",
        "".join(f"<p><small>{escape(note)}</small></p>" for note in notes),
        f"<h2>{psnr.title}</h2>",
        bars([(m.name, rows.mean(m.name, "hole_psnr"), colours[m.name]) for m in methods], psnr.digits),
        "<h2>Against the best simple fill</h2>",
        html_table(difference_table(rows, methods)),
        "<h2>By width of the hole (px at 1080p)</h2>",
        *(width_section(rows, methods, n, colours) for n in SPLIT),
        *(against_section(rows, m, first) for m in methods if (first := first_checkpoint(methods, m))),
        "<h2>All measures</h2>",
        html_table(full_table(rows, methods)),
        *(group_section(rows, methods, kind) for kind in ("motion", "video")),
        "<h2>Cost, and what iw3's benchmark prints</h2>",
        html_table(cost_table(rows, methods)),
        "<h2>What is measured</h2>",
        *(f"<p><b>{MEASURES[n].title}</b>: {escape(MEASURES[n].about)}</p>" for n in measured(rows, methods)),
        "<h2>Pictures</h2>",
        *(show(key, outputs) for key, outputs in pictures),
    ]
    head = f"<meta charset='utf-8'><title>Backfill: {escape(config.data)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def title(measure: str) -> str:
    """The measure's name with an arrow to where better is."""
    return f"{MEASURES[measure].title} {'↑' if MEASURES[measure].higher_is_better else '↓'}"


def html_table(table: list[list[str]]) -> str:
    """Cells as text; an interval in brackets goes below its mean."""
    head, *lines = ["".join(f"<td>{below(escape(cell))}</td>" for cell in line) for line in table]
    head = head.replace("td>", "th>").replace("_", "_<wbr>")  # long names of files may be broken
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>"


def below(cell: str) -> str:
    mean, bracket, rest = cell.partition(" [")
    return f"{mean}<small>[{rest}</small>" if bracket else cell


def difference_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    table = [["measure", "best simple fill", *(m.name for m in rivals(methods))]]
    for n in measured(rows, methods):
        other = best_simple(rows, methods, n)
        if other:
            cells = [figure(rows.difference(m.name, other, n), MEASURES[n].digits, "+") for m in rivals(methods)]
            table.append([title(n), other, *cells])
    return table


def width_section(rows: Rows, methods: Sequence[Method], measure: str, colours: dict[str, str]) -> str:
    """A measure by width of the hole, the first one as a plot too."""
    plot = width_plot(rows, methods, colours) if measure == "hole_psnr" else ""
    return f"<h3>{title(measure)}</h3>{plot}{html_table(width_table(rows, methods, measure))}"


def width_plot(rows: Rows, methods: Sequence[Method], colours: dict[str, str]) -> str:
    groups = list(WIDTHS)
    return lines(
        groups,
        {
            m.name: ([rows.mean(m.name, f"hole_psnr of {g}") for g in groups], colours[m.name])
            for m in methods
            if m.name != "empty"
        },
    )


def width_table(rows: Rows, methods: Sequence[Method], measure: str) -> list[list[str]]:
    groups = list(WIDTHS)
    digits = MEASURES[measure].digits
    lines = [[m.name, *(figure(rows.mean(m.name, f"{measure} of {g}"), digits) for g in groups)] for m in methods]
    return [["method", *groups], *lines]


def against_section(rows: Rows, method: Method, first: Method) -> str:
    """How far a checkpoint is from the first one, by width of the hole."""
    head = f"<h3>{escape(method.name)} against {escape(first.name)}</h3>"
    table = [["measure", *by_width("")]]
    for n in SPLIT:
        gaps = (rows.difference(method.name, first.name, name) for name in by_width(n).values())
        table.append([title(n), *(figure(gap, MEASURES[n].digits, "+") for gap in gaps)])
    return head + html_table(table)


def group_section(rows: Rows, methods: Sequence[Method], kind: str) -> str:
    """Every measure by video or by motion."""
    tables = (f"<h3>{title(n)}</h3>{html_table(group_table(rows, methods, kind, n))}" for n in SPLIT)
    return f"<h2>By {kind}</h2>{''.join(tables)}"


def full_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    names = measured(rows, methods)
    lines = [[m.name, *(figure(rows.mean(m.name, n), MEASURES[n].digits) for n in names)] for m in methods]
    return [["method", *map(title, names)], *lines]


def group_table(rows: Rows, methods: Sequence[Method], kind: str, measure: str) -> list[list[str]]:
    groups, digits = rows.groups(kind), MEASURES[measure].digits
    return [
        ["method", *groups],
        *([m.name, *(figure(rows.mean(m.name, measure, {kind: g}), digits) for g in groups)] for m in methods),
    ]


def cost_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    table = [["method", "ms a frame", "parameters", "peak memory, MB", "iw3 PSNR image", "iw3 PSNR mask region"]]
    for m in methods:
        memory = "–" if m.cost.memory is None else f"{m.cost.memory / 1e6:.0f}"
        iw3 = rows.iw3(m.name)
        cost = f"{m.cost.milliseconds:.1f}" if m.cost.seconds else "–"
        table.append([m.name, cost, f"{m.parameters:,}", memory, f"{iw3['psnr']:.2f}", f"{iw3['hole_psnr']:.2f}"])
    return table


def show(key: str, outputs: dict[str, Any]) -> str:
    """A clip as moving pictures, so that flicker is seen."""
    figures = "".join(
        f"<figure><img src='{moving_picture(frames)}' alt='{escape(name)}'><figcaption>{escape(name)}"
        "</figcaption></figure>"
        for name, frames in outputs.items()
    )
    return f"<h3>{escape(key)}</h3>{figures}"


def moving_picture(frames) -> str:  # float (T 3 H W) -> a data URI
    images = [Image.fromarray(picture.numpy()) for picture in as_uint8(frames)]
    data = io.BytesIO()
    images[0].save(data, "WEBP", save_all=True, append_images=images[1:], duration=120, loop=0, quality=85)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
