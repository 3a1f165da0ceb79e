"""The arena's page and JSON: the same ranks, intervals, differences and correlations in both."""

from collections.abc import Mapping, Sequence
from html import escape

from tools.arena.boards import Board, Rank, correlation, ranks
from tools.evaluation.comparison import figure
from tools.evaluation.plots import COLOURS, bars
from tools.evaluation.report_page import html_table, whole_page
from tools.stereo_truth.compare import Shown
from tools.stereo_truth.report import show

ABOUT = (
    "Networks and simple fills on the same clips. Rendered scenes measure against a true second eye, which is what a "
    "viewer sees; ordinary splits measure pixels that are hidden in a flat picture and filled again. Where both "
    "disagree, the second eye decides."
)


def as_html(
    boards: Sequence[Board],
    first: str,
    shown: Mapping[str, Sequence[Shown]],
    facts: Sequence[str],
    notes: Sequence[str],
) -> str:
    """One page that needs no other file."""
    names = list(boards[0].values)
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}
    parts = [
        f"<h1>Arena</h1><p>{escape(ABOUT)}</p>",
        "".join(f"<p><b>{escape(fact)}</b></p>" for fact in facts),
        "".join(f"<p><small>{escape(note)}</small></p>" for note in notes),
        "<h2>Ranks</h2><p>1 is best; in brackets the 95 % interval of the rank (bootstrap over clips).</p>",
        html_table(rank_table(boards)),
        "<h2>Means</h2><p>In brackets the 95 % interval of the mean (bootstrap over clips).</p>",
        html_table(mean_table(boards)),
        f"<h2>Against {escape(first)}, paired by clip</h2>",
        html_table(difference_table(boards, first)),
        "<h2>Does one ranking predict the other?</h2><p>Spearman's rank correlation over all methods: 1 is the same "
        "order, 0 none, -1 the reverse.</p>",
        html_table(correlation_table(boards)),
        *(
            f"<h2>{escape(board.title)}</h2>{bars([(n, board.mean(n), colours[n]) for n in order(board)], 2)}"
            for board in boards
        ),
        *(
            f"<h2>Largest differences: {escape(source)}</h2>{''.join(map(show, strips))}"
            for source, strips in shown.items()
        ),
    ]
    return whole_page("arena", parts)


def order(board: Board) -> list[str]:
    """The methods from best to worst."""
    places = ranks(board)
    return sorted(board.values, key=lambda name: places[name].place)


def rank_table(boards: Sequence[Board]) -> list[list[str]]:
    """A line for each method, the best on the first board first."""
    places = [ranks(board) for board in boards]
    return [
        ["method", *(f"{board.title} ({board.clips} clips)" for board in boards)],
        *([name, *(rank_figure(found[name]) for found in places)] for name in order(boards[0])),
    ]


def rank_figure(rank: Rank) -> str:
    return f"{rank.place} [{rank.low}, {rank.high}]"


def mean_table(boards: Sequence[Board]) -> list[list[str]]:
    lines = [[name, *(figure(board.mean(name), 2) for board in boards)] for name in order(boards[0])]
    return [["method", *(board.title for board in boards)], *lines]


def difference_table(boards: Sequence[Board], first: str) -> list[list[str]]:
    names = [name for name in order(boards[0]) if name != first]
    lines = [[name, *(figure(board.difference(name, first), 2, "+") for board in boards)] for name in names]
    return [["method", *(board.title for board in boards)], *lines]


def correlation_table(boards: Sequence[Board]) -> list[list[str]]:
    lines = []
    for one in boards:
        cells = [correlation(one, other) for other in boards]
        lines.append([one.title, *("–" if cell != cell else f"{cell:.2f}" for cell in cells)])
    return [["", *(board.title for board in boards)], *lines]
