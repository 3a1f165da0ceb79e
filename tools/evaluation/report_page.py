"""report.html: the results of an evaluation with plots and animated clips, in one page that needs no other file."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape

from PIL import Image
from torch import Tensor

from pack.holes.placement import MOST_CROSSED
from tools.cli import plural
from tools.evaluation.comparison import (
    GROUPED,
    best_baseline,
    by_width,
    figure,
    first_checkpoint,
    group_table,
    measured,
    networks,
)
from tools.evaluation.methods import Method
from tools.evaluation.plots import COLOURS, bars, lines
from tools.evaluation.summary import MEASURES, MOTIONS, WIDTHS, Rows
from train.evaluation.metrics import as_uint8

Picture = tuple[str, dict[str, Tensor]]  # key of a clip; frames float (T 3 H W) in [0, 1] by name
STYLE = """body{font:15px/1.5 sans-serif;max-width:1280px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px;margin:.5em 0}td,th{padding:3px 9px;border-bottom:1px solid #ddd;
text-align:right;vertical-align:top}td:first-child,th:first-child{text-align:left}td:first-child{white-space:nowrap}
small{color:#666}td small{display:block;white-space:nowrap}th{vertical-align:bottom}
figure{display:inline-block;vertical-align:top;margin:3px;width:224px}figure img{width:100%;image-rendering:pixelated}
figcaption{font-size:12px}.wide{overflow-x:auto}
svg{max-width:100%;height:auto}h1,h3,p,figcaption{overflow-wrap:anywhere}"""


def as_html(
    rows: Rows, methods: Sequence[Method], pictures: Sequence[Picture], notes: Sequence[str], split: str
) -> str:
    """The page of an evaluation on `split`."""
    colours = {m.name: COLOURS[n % len(COLOURS)] for n, m in enumerate(methods)}
    psnr = MEASURES["hole_psnr"]
    parts = [
        f"<h1>Evaluation on {escape(split)}</h1>",
        f"<p>{plural(len(rows.clips), 'clip')} of {escape(', '.join(rows.groups('video')))}. "
        "Numbers are means over clips; brackets are their 95 % confidence intervals (paired bootstrap over clips). "
        "The holes were cut into the source view, whose own pixels are the ground truth; for a comparison with a true "
        "second eye see make evaluate-stereo.</p>",
        "".join(f"<p><small>{escape(note)}</small></p>" for note in notes),
        f"<h2>{psnr.title}</h2>",
        bars([(m.name, rows.mean(m.name, "hole_psnr"), colours[m.name]) for m in methods], psnr.digits),
        "<h2>Difference to the best baseline</h2>",
        html_table(difference_table(rows, methods)),
        "<h2>By hole width (px at 1080p)</h2>",
        *(width_section(rows, methods, n, colours) for n in GROUPED),
        *(against_section(rows, m, first) for m in methods if (first := first_checkpoint(methods, m))),
        "<h2>All measures</h2>",
        html_table(full_table(rows, methods)),
        *([f"<h2>By kind of holes</h2>{group_tables(rows, methods, 'kind')}"] if len(rows.groups("kind")) > 1 else []),
        f"<h2>By placement of holes</h2><p>{placement_classes()}</p>{group_tables(rows, methods, 'placement')}",
        f"<h2>By motion</h2><p>{motion_classes()}</p>{group_tables(rows, methods, 'motion')}",
        f"<h2>By video</h2>{group_tables(rows, methods, 'video')}",
        "<h2>Cost, and the numbers of iw3's benchmark</h2>",
        html_table(cost_table(rows, methods)),
        "<h2>Definitions</h2>",
        *(f"<p><b>{MEASURES[n].title}</b>: {escape(MEASURES[n].about)}</p>" for n in measured(rows, methods)),
        "<h2>Pictures</h2>",
        *(show(key, outputs) for key, outputs in pictures),
    ]
    return whole_page(split, parts)


def whole_page(title: str, parts: Sequence[str], style: str = "") -> str:
    """The HTML of a page with these parts, for screens of every width; `style` is CSS besides STYLE."""
    head = (
        "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Backfill: {escape(title)}</title><style>{STYLE}{style}</style>"
    )
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def title(measure: str) -> str:
    """The title of a measure with an arrow: up where higher is better."""
    return f"{MEASURES[measure].title} {'↑' if MEASURES[measure].higher_is_better else '↓'}"


def html_table(table: list[list[str]]) -> str:
    """A table of text cells; an interval in brackets is shown below its mean."""
    head, *lines = ["".join(f"<td>{below(escape(cell))}</td>" for cell in line) for line in table]
    head = head.replace("td>", "th>").replace("_", "_<wbr>")  # long file names may wrap
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>"


def below(cell: str) -> str:
    """The HTML of a cell, with the interval on a line of its own."""
    mean, bracket, rest = cell.partition(" [")
    return f"{mean}<small>[{rest}</small>" if bracket else cell


def difference_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each measure: the best baseline, and the difference of each network to it."""
    table = [["measure", "best baseline", *(m.name for m in networks(methods))]]
    for n in measured(rows, methods):
        other = best_baseline(rows, methods, n)
        if other:
            cells = [figure(rows.difference(m.name, other, n), MEASURES[n].digits, "+") for m in networks(methods)]
            table.append([title(n), other, *cells])
    return table


def width_section(rows: Rows, methods: Sequence[Method], measure: str, colours: dict[str, str]) -> str:
    """A measure by hole width, PSNR with a plot."""
    plot = width_plot(rows, methods, colours) if measure == "hole_psnr" else ""
    return f"<h3>{title(measure)}</h3>{plot}{html_table(width_table(rows, methods, measure))}"


def width_plot(rows: Rows, methods: Sequence[Method], colours: dict[str, str]) -> str:
    """PSNR over hole width, without black holes, which are too far below the others."""
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
    """A line for each method: the measure of each width class."""
    groups = list(WIDTHS)
    digits = MEASURES[measure].digits
    lines = [[m.name, *(figure(rows.mean(m.name, f"{measure} of {g}"), digits) for g in groups)] for m in methods]
    return [["method", *groups], *lines]


def against_section(rows: Rows, method: Method, first: Method) -> str:
    """The difference of a checkpoint to the first one, by hole width."""
    head = f"<h3>{escape(method.name)} against {escape(first.name)}</h3>"
    table = [["measure", *by_width("")]]
    for n in GROUPED:
        gaps = (rows.difference(method.name, first.name, name) for name in by_width(n).values())
        table.append([title(n), *(figure(gap, MEASURES[n].digits, "+") for gap in gaps)])
    return head + html_table(table)


def motion_classes() -> str:
    """The definition of the classes of motion."""
    limits = (f"{name} up to {limit}" for name, limit in MOTIONS.items() if limit < math.inf)
    return f"Mean motion of a clip in px per frame at 1080p: {', '.join(limits)}, {list(MOTIONS)[-1]} above."


def placement_classes() -> str:
    """The definition of the classes of placement."""
    return (
        f"Aligned: at most {MOST_CROSSED:.0%} of a clip's hole pixels lie in a run of their row that holds a stronger "
        "edge of the picture than at its ends. Crossed: more do; there the depth steps beside the objects. On aligned "
        "holes fills rank more as they do against a true second eye."
    )


def group_tables(rows: Rows, methods: Sequence[Method], kind: str) -> str:
    """A table for each measure by `kind`, which is video, motion, or kind or placement of holes."""
    return "".join(f"<h3>{title(n)}</h3>{html_table(group_table(rows, methods, kind, n))}" for n in GROUPED)


def full_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each method: all measures."""
    names = measured(rows, methods)
    lines = [[m.name, *(figure(rows.mean(m.name, n), MEASURES[n].digits) for n in names)] for m in methods]
    return [["method", *map(title, names)], *lines]


def cost_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each method: time, size, memory and the two PSNRs of iw3's benchmark."""
    table = [["method", "ms per frame", "parameters", "peak memory, MB", "iw3 PSNR image", "iw3 PSNR mask region"]]
    for m in methods:
        memory = "–" if m.cost.memory is None else f"{m.cost.memory / 1e6:.0f}"
        iw3 = rows.iw3(m.name)
        cost = f"{m.cost.milliseconds:.1f}" if m.cost.seconds else "–"
        table.append([m.name, cost, f"{m.parameters:,}", memory, f"{iw3['psnr']:.2f}", f"{iw3['hole_psnr']:.2f}"])
    return table


def show(key: str, outputs: dict[str, Tensor]) -> str:
    """A clip as animated images, so that flicker is visible."""
    figures = "".join(
        f"<figure><img src='{moving_picture(frames)}' alt='{escape(name)}'><figcaption>{escape(name)}"
        "</figcaption></figure>"
        for name, frames in outputs.items()
    )
    return f"<h3>{escape(key)}</h3>{figures}"


def moving_picture(frames: Tensor) -> str:  # float (T 3 H W) in [0, 1]
    """An animated WebP as a data URI."""
    images = [Image.fromarray(picture.numpy()) for picture in as_uint8(frames)]
    data = io.BytesIO()
    images[0].save(data, "WEBP", save_all=True, append_images=images[1:], duration=120, loop=0, quality=85)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
