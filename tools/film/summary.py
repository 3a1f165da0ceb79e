"""What `make film` says at its end and between its stages, and the certificate's page beside the film."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model.checkpoint import load_network
from tools.cli import plural
from tools.film.calibration import Calibration
from tools.film.certificate import Certificate
from tools.film.page import write_page
from tools.film.sheet import draw_sheet
from tools.film.stages import identify
from tools.film.strength import AUTO
from tools.film.survey import Shot, steadiness
from tools.film.tune import why
from tools.film.work import Work

if TYPE_CHECKING:
    from tools.film.__main__ import Config


def headline(text: str) -> None:
    """Print the title of a stage."""
    print(f"\n== {text}", flush=True)


def say_shots(shots: list[Shot], name: str) -> None:
    frames = sum(shot.frames for shot in shots)
    print(f"{plural(len(shots), 'shot')}, {plural(frames, 'frame')}; depth of {name} {steadiness(shots)}", flush=True)
    say_strengths([shot for shot in shots if shot.divergence], shots)


def say_strengths(chosen: Sequence[Shot], shots: list[Shot]) -> None:
    """Print the strength of some shots, and why."""
    for shot in chosen:
        print(
            f"  shot {shots.index(shot)} at {shot.seconds:.1f} s: strength {shot.divergence}: {shot.why}",
            flush=True,
        )


def finish(
    config: "Config",
    out: Path,
    work: Work,
    shots: list[Shot],
    winner: str,
    certificate: Certificate | None,
    reason: str,
    calibration: Calibration | None,
    name: str,
    device: torch.device,
) -> None:
    """Write the contact sheet and the certificate's page, and print where everything is."""

    sheet = out.with_name(f"{out.stem}.fills.png")
    drawn = draw_sheet(sheet, work.splits, shots, load_network(winner, device).infer, device)
    page = out.with_name(f"{out.stem}.certificate.html")
    facts = {
        "film": Path(config.video).name,
        "date": time.strftime("%Y-%m-%d"),
        "shots": f"{len(shots)}, {plural(sum(shot.frames for shot in shots), 'frame')}",
        "depth": f"{name}, {steadiness(shots)}",
        "strength": strengths(config, shots),
        "warp": config.method,
        "start": Path(config.checkpoint).name,
        "tuning": why(work, tuned) if (tuned := work.read("tuning")) else "none",
        "used for the film": f"{Path(winner).name}, {'the start' if winner == config.checkpoint else 'tuned'}; sha256 "
        f"{identify(winner)}",
    }
    write_page(page, out.name, certificate, reason, calibration, facts, shots, [sheet] if drawn else [])
    headline("done")
    print(f"film         {out}")
    print(f"certificate  {page}")
    print(f"fills        {sheet}" if drawn else "fills        none: no shot has enough holes")
    if config.confidence and calibration:
        print(f"errors       {out.with_name(f'{out.stem}.errors')}")
    print(f"working data {work.folder}, which can be deleted")


def strengths(config: "Config", shots: list[Shot]) -> str:
    """The strength of the film, or of its shots, in words."""
    if config.divergence != AUTO:
        return f"{config.divergence} percent of the longer side, in one view"
    used = [shot.divergence for shot in shots]
    return f"{min(used)} to {max(used)} percent of the longer side, chosen for each shot"
