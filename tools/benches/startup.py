"""Start-up times: the first step of a training, and `--help` of every program."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.benches.case import ROOT, Case, Gauge, Goal, Workplace
from tools.benches.records import as_dataset

FLAGS = ["--loss", "temporal_l1", "--tile", "128", "--num-samples", "12", "--backward-step", "1", "--max-epoch", "1"]
FLAGS += ["--learning-rate-cycles", "1", "--skip-eval", "--seed", "1", "--device", "cpu"]


def first_step(place: Workplace) -> Gauge:
    """Seconds from the command to the end of an epoch of one step, including its checkpoint."""
    data, model = as_dataset(place), place.folder / "startup model"
    words = ["-m", "torch.distributed.run", "--standalone", "train/main.py", "-i", data, "--model-dir", model, *FLAGS]

    def measure() -> float:
        shutil.rmtree(model, ignore_errors=True)
        return seconds_until(words, "epoch 1/1: loss")

    return Gauge(measure)


def seconds_until(words: list, text: str) -> float:
    """Seconds until a program of this repository prints a text. Raises RuntimeError when it ends before."""
    started = time.perf_counter()
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        printed = []
        for line in process.stdout:
            printed.append(line)
            if text in line:
                seconds = time.perf_counter() - started
                process.stdout.read()  # until the program ends
                return seconds
    raise RuntimeError(f"{' '.join(command)} ended without printing {text!r}: {''.join(printed)[-2000:]}")


def help_of_all(place: Workplace) -> Gauge:
    """Seconds of `--help` of the slowest program."""
    programs = [program for folder in ("pack", "train", "tools") for program in runnable(ROOT / folder)]

    def measure() -> float:
        seconds = {program.name: seconds_of_help(program) for program in (programs[:2] if place.tiny else programs)}
        slowest = max(seconds, key=lambda name: seconds[name])
        gauge.notes["slowest program"] = f"{slowest}, of {len(seconds)}"
        return seconds[slowest]

    gauge = Gauge(measure)
    return gauge


def seconds_of_help(program: Path) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, program, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def runnable(folder: Path) -> list[Path]:
    """The programs in a folder."""
    return [path for path in folder.glob("*.py") if "cli.run(" in path.read_text()]


CASES = (
    Case("startup", "torchrun train/main.py until its first step", Goal(10, "s", at_most=True), first_step, 3),
    Case("help", "--help of the slowest program", Goal(1, "s", at_most=True), help_of_all, 3),
)
