"""Fine-tunes a network on a film's records for a given time, with train/main.py.

The learning rate is constant and gentle, and the weights that are evaluated and kept are a moving average. So the end
of the training need not be known in advance, and more time can be given later.
"""

import math
import time
from pathlib import Path
from typing import Any

from tools.cli import duration
from tools.cli.files import read_small
from tools.film.programs.run import run
from tools.film.work import Work
from train.config import OPEN_END
from train.runtime.lock import NAME as LOCK

PATIENCE = 5  # evaluations without a new best after which the training stops
RATE = 1e-4  # a fifth to a half of what networks are trained with
NOTED = 5.0  # seconds between notes of the time that was used


def tune(
    work: Work, checkpoint: str, arch: str, seconds: float, flags: dict[str, Any], rate: float, processes: int = 1
) -> str:
    """Train until the time is used up or the held-out shots stop gaining; why it ended, in words."""
    words = [word for name, value in settings(work, checkpoint, arch, rate).items() for word in (f"--{name}", value)]
    words += [word for name, value in flags.items() for word in (f"--{name}", value)]
    noted = work.read("tuning")
    if noted.get("ended") == "gain" or noted.get("seconds", 0) >= seconds:
        return why(work, noted)
    used, began, wrote = float(noted.get("seconds", 0)), time.monotonic(), time.monotonic()
    ended = "time"

    def enough() -> bool:
        nonlocal wrote, ended
        now = time.monotonic()
        spent = used + now - began
        if now - wrote > NOTED:
            work.write("tuning", {"seconds": spent})
            wrote = now
        stalled = evaluations_since_best(work.model) >= PATIENCE
        ended = "gain" if stalled else "time"
        return stalled or spent >= seconds

    # at SIGTERM train/main.py writes a checkpoint
    lock = work.model / LOCK
    run("train/main.py", *words, "--ema-model", "--resume", processes=processes, lock=lock, enough=enough)
    work.write("tuning", {"seconds": used + time.monotonic() - began, "ended": ended})
    return why(work, work.read("tuning"))


def settings(work: Work, checkpoint: str, arch: str, rate: float) -> dict[str, Any]:
    """The flags of train/main.py that do not depend on the machine."""
    return {
        "data-dir": work.data,
        "model-dir": work.model,
        "checkpoint-file": checkpoint,
        "arch": arch,
        "loss": "hole_l1",  # needs no download
        "learning-rate": rate,
        "scheduler": "step",
        "learning-rate-decay": 1.0,
        "weight-decay": 0.0,  # the start is the prior, not 0
        "ema-decay": 0.98,
        "max-epoch": OPEN_END,
        "eval-step": 1,
        "save-eval-step": 1000,
        "hard-example": "none",
        "seed": 1,
    }


def losses(model: Path) -> list[float]:
    """The evaluation loss of each epoch so far, of the newest run in a model folder."""
    runs = sorted(model.glob("loss_*.csv"))
    if not runs:
        return []
    found = []
    for line in read_small(runs[-1]).decode(errors="replace").splitlines():
        try:
            _, _, loss = line.split(",")
            found.append(float(loss))
        except ValueError:  # an epoch without an evaluation, or a line of something else
            continue
    return found


def evaluations_since_best(model: Path) -> int:
    """How many evaluations have passed since the best one."""
    found = [loss if math.isfinite(loss) else math.inf for loss in losses(model)]
    return len(found) - 1 - found.index(min(found)) if found else 0


def why(work: Work, noted: dict[str, Any]) -> str:
    """How the training ended, in words."""
    count = len(losses(work.model))
    end = "held-out shots stopped gaining" if noted.get("ended") == "gain" else "the time was used up"
    return f"{duration(noted.get('seconds', 0))} of tuning, {count} evaluations on held-out shots; {end}"
