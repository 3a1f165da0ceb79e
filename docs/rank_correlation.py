"""Does one ranking of fills predict another? `python docs/rank_correlation.py use-monobw evaluation-stereo ...`

Each folder is one that `make evaluate` or `make evaluate-stereo` wrote. Printed is Spearman's rank correlation of their
mean PSNR over the fills that all of them measured: in holes of an ordinary split, also of its clips with aligned and
with crossed holes alone, and in uncovered pixels of rendered scenes.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools.arena.boards import shared_places

NO_FILLS = ("left eye", "empty", "perfect fill", "untrained")


def rankings(folder: Path) -> dict[str, dict[str, float]]:
    """The mean PSNR of each fill in dB, by ranking."""
    found = json.loads((folder / "metrics.json").read_text())
    if "cases" not in found:
        means = {name: row["means"] for name, row in found["methods"].items()}
        groups = {"all": "hole_psnr", **{name: f"hole_psnr of placement {name}" for name in ("aligned", "crossed")}}
        return {
            f"{folder.name}, {group} holes": {name: row[measure]["mean"] for name, row in means.items()}
            for group, measure in groups.items()
            if all(measure in row for row in means.values())
        }
    boards: dict[str, dict[str, float]] = {}
    for case in found["cases"]:
        board = boards.setdefault(f"{folder.name}, {case['depth']} depth, {case['warp']}", {})
        board[case["fill"]] = case["means"]["uncovered_psnr"]["mean"]
    return boards


def main() -> None:
    boards = {name: fills for folder in sys.argv[1:] for name, fills in rankings(Path(folder)).items()}
    common = sorted(set.intersection(*(set(fills) for fills in boards.values())) - set(NO_FILLS))
    common = [name for name in common if not name.endswith(" streamed")]  # each network once
    print(f"{len(common)} fills: {', '.join(common)}")
    places = np.array([shared_places(np.array([fills[name] for name in common])) for fills in boards.values()])
    for name, row in zip(boards, np.corrcoef(places), strict=True):
        print(f"{name:44}", "  ".join(f"{value:+.2f}" for value in row))


if __name__ == "__main__":
    main()
