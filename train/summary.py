"""The end of a run: summary.json in the model folder, and what its user reads last."""

import json
import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pack.shards.untrusted import parse_object
from tools.cli import UserError, duration, plural
from tools.cli.files import read_small, write_file
from train.data.sources import parse_sources
from train.evaluation.evaluate import FILLS
from train.run import Run

VERSION = 1
LONGEST = 1e12  # seconds that a run can have taken


@dataclass(frozen=True)
class Summary:
    """What was trained on what, for how long, and how good the best network is."""

    run_id: str  # local start time and random digits
    finished: bool  # False: stopped by a signal
    network: str
    best_network: str  # its file; empty when there is none
    data: str  # --data-dir
    records: int
    shards: int
    eval_records: int
    epochs: int  # complete ones
    steps: int  # of the optimizer
    sequences: int  # trained on
    seconds: float  # of all starts of the run that ended by themselves or by a signal
    eval_metric: str  # that selected the best network
    best: dict[str, float | None]  # metrics of the best network; with the name of a fill at the end, of the fill


def end_run(run: Run, finished: bool, seconds: float) -> None:
    """Write summary.json, and print it with what to do next; `seconds` is the time since this start."""
    path = run.job.folder / "summary.json"
    summary = summarise(run, finished, seconds + earlier_seconds(path, run.position.run_id))
    content = {"version": VERSION} | asdict(summary) | {"configuration": asdict(run.job.config)}
    write_file(path, json.dumps(content, indent=2).encode())
    if finished:
        print("\n".join(paragraph(summary)), flush=True)
        return
    print(
        f"stopped by {run.job.stop.name or 'another process'} in epoch {run.position.epoch} after "
        f"{run.position.slots_done} sequences; the same command with --resume continues from there",
        flush=True,
    )


def summarise(run: Run, finished: bool, seconds: float) -> Summary:
    """The summary of a run that took this long."""
    job, data, position = run.job, run.data, run.position
    path = job.folder / f"{run.learner.name}.pth"
    has_best = path.exists() and (position.best is not None or not data.eval_samples)
    return Summary(
        run_id=position.run_id,
        finished=finished,
        network=run.learner.name,
        best_network=str(path) if has_best else "",
        data=job.config.data_dir,
        records=data.plan.count,
        shards=len(data.description["shards"]),
        eval_records=len(data.eval_samples.records) if data.eval_samples else 0,
        epochs=position.epoch - 1,
        steps=position.step,
        sequences=(position.epoch - 1) * data.plan.slots + position.slots_done,
        seconds=round(seconds, 1),
        eval_metric=job.config.eval_metric,
        best={name: value if math.isfinite(value) else None for name, value in position.best_metrics.items()},
    )


def earlier_seconds(path: Path, run_id: str) -> float:
    """The seconds that the earlier starts of this run took, by its last summary; 0 when there is none."""
    try:
        last = parse_object(read_small(path))
    except (OSError, UserError):
        return 0.0
    seconds = last.get("seconds")
    if last.get("run_id") != run_id or not isinstance(seconds, int | float):
        return 0.0
    return float(seconds) if 0 < seconds < LONGEST else 0.0


def paragraph(summary: Summary) -> Iterator[str]:
    """The lines that a finished run prints."""
    yield (
        f"trained {summary.network} for {plural(summary.epochs, 'epoch')} ({plural(summary.sequences, 'sequence')}) on "
        f"{plural(summary.records, 'record')} in {plural(summary.shards, 'shard')} of {summary.data}, "
        f"in {duration(summary.seconds)}"
    )
    if summary.best:
        yield f"best evaluation, of {plural(summary.eval_records, 'record')}: {numbers(summary)}"
    if not summary.best_network:
        yield "done, but this run has no best network: no evaluation was finite, lower --learning-rate"
        return
    if summary.eval_records:
        yield f"next: {evaluation(summary)} compares it with all simple fills"
    yield f"done: {summary.best_network} is the best network, iw3 loads it unchanged"


def numbers(summary: Summary) -> str:
    """The metric that selected the best network, and its PSNR in holes beside that of the simple fills."""
    found = [f"{summary.eval_metric} {shown(summary.best[summary.eval_metric])}"]
    if "masked_psnr" in summary.best:
        fills = (f"{fill.replace('_', ' ')} {shown(summary.best[f'masked_psnr_{fill}'], 2)} dB" for fill in FILLS)
        found.append(f"PSNR in holes {shown(summary.best['masked_psnr'], 2)} dB ({', '.join(fills)})")
    return ", ".join(found)


def shown(value: Any, digits: int = 4) -> str:
    return "not finite" if value is None else f"{value:.{digits}f}"


def evaluation(summary: Summary) -> str:
    """The command that evaluates the best network on the records of its evaluation."""
    split = parse_sources(summary.data)[0].location / "eval"
    python = Path(sys.executable)
    ours = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return shlex.join([str(ours), "tools/evaluate.py", "--checkpoint", summary.best_network, "-i", str(split)])
