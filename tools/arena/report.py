"""Writes the results of the arena: arena.html, arena.json, and the ranks on the terminal."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tools.arena.boards import Board, board_as_json, correlations
from tools.arena.contest import Split, Truth
from tools.arena.page import ABOUT, as_html, mean_table, rank_table
from tools.cli import plural
from tools.cli.files import write_file
from tools.evaluation.methods import Method
from tools.evaluation.report import aligned, without_nan

if TYPE_CHECKING:
    from tools.arena.__main__ import Config


def write_report(
    out: Path,
    boards: Sequence[Board],
    sources: Sequence[Split | Truth],
    methods: Sequence[Method],
    notes: Sequence[str],
    config: "Config",
) -> None:
    """Write both files and print the ranks and means."""
    out.mkdir(parents=True, exist_ok=True)
    facts = [coverage(source, config.seed, config.quick) for source in sources]
    print("\n".join([ABOUT, *facts]))
    for title, table in (("rank [95 %]", rank_table(boards)), ("mean [95 %]", mean_table(boards))):
        print(f"\n{title}")
        print("\n".join("  ".join(line) for line in aligned(short_heads(table))))
    print("\n" + "\n".join(f"({letter}) {board.title}" for letter, board in zip(letters(boards), boards, strict=True)))
    for note in notes:
        print(f"note: {note}")
    first = methods[0].name
    found = {
        "format": "backfill arena",
        "version": 1,
        "about": ABOUT,
        "config": asdict(config),
        "clips": facts,
        "notes": list(notes),
        "methods": {m.name: {"kind": m.kind, "parameters": m.parameters} for m in methods},
        "first": first,
        "boards": [board_as_json(board, first) for board in boards],
        "rank_correlation": correlations(boards),
    }
    write_file(out / "arena.json", (json.dumps(without_nan(found), indent=1) + "\n").encode())
    shown = {name_of(source): source.shown if isinstance(source, Split) else source.found.shown for source in sources}
    write_file(out / "arena.html", as_html(boards, first, shown, facts, notes).encode())
    print(f"{out / 'arena.html'}: {plural(len(methods), 'method')}, {plural(len(boards), 'board')}")


def name_of(source: Split | Truth) -> str:
    return source.data if isinstance(source, Split) else "rendered scenes"


def coverage(source: Split | Truth, seed: int, quick: bool) -> str:
    """How many clips of a source were measured, in words."""
    drawn = f", drawn by seed {seed} (quick: as many as fit into two minutes)" if quick else ""
    return f"{name_of(source)}: {source.done} of {plural(source.total, 'clip')} measured{drawn}"


def letters(boards: Sequence[Board]) -> list[str]:
    return [chr(ord("a") + n % 26) for n in range(len(boards))]


def short_heads(table: list[list[str]]) -> list[list[str]]:
    """The table with a letter for each board, which a terminal has room for."""
    return [["method", *(f"({chr(ord('a') + n % 26)})" for n in range(len(table[0]) - 1))], *table[1:]]
