"""Trains networks whose settings differ, and compares them: `python tools/sweep --sweep sweep.toml`."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import read_small, write_file
from tools.cli.flags.config_file import config_text, read_config
from tools.cli.flags.fields import read_flags
from tools.sweep.plan import EVALUATION, Run, Sweep, different_settings, read_sweep
from train.config import Config as TrainConfig

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Launcher:
    """Runs commands, and passes the signals that stop this program on to the one that runs."""

    def __init__(self) -> None:
        self.child: subprocess.Popen | None = None
        self.stopped = False  # whether a signal came
        for number in SIGNALS:
            signal.signal(number, self._pass_on)

    def __call__(self, words: list) -> int:
        """The exit status of a command; it has a session of its own, so that Ctrl-C reaches it once."""
        with subprocess.Popen([str(word) for word in words], start_new_session=True) as self.child:
            if self.stopped:  # while it was started
                self.child.terminate()
            status = self.child.wait()
        self.child = None
        return status

    def _pass_on(self, number: int, _: object) -> None:
        self.stopped = True
        if self.child:
            self.child.send_signal(number)


@dataclass(frozen=True)
class Config:
    """Train networks that differ in some settings, and compare them on one split with paired intervals."""

    sweep: str = "sweep.toml"  # TOML file: what to train, see docs/training.md
    run: int = -1  # train only the run of this number, from 0, and compare nothing: for job arrays; -1: all
    dry_run: bool = False  # list the runs and what is left to do, and end

    def __post_init__(self):
        if self.run < -1:
            raise UserError(f"--run {self.run}: expected the number of a run, or -1 for all")


def main() -> None:
    config = cli.parse(Config)
    sweep = read_sweep(config.sweep)
    if config.run >= len(sweep.runs):
        raise UserError(f"--run {config.run}: {config.sweep} has {plural(len(sweep.runs), 'run')}, numbered from 0")
    chosen = sweep.runs if config.run < 0 else sweep.runs[config.run : config.run + 1]
    for run in chosen:
        check_earlier(sweep, run)
    if config.dry_run:
        for number, run in enumerate(sweep.runs):
            print(f"{number}: {run.name}{' (done)' if is_done(sweep, run) else ''}")
        return
    launch = Launcher()
    failed = [run.name for run in chosen if not train(sweep, run, launch)]
    if failed:
        raise UserError(
            f"{plural(len(failed), 'run')} failed ({', '.join(failed)}): see the messages above; the same command "
            f"trains only what is missing"
        )
    if config.run < 0:
        compare(sweep, launch)


def is_done(sweep: Sweep, run: Run) -> bool:
    """Whether the run has come to its end, as its summary says, which a training writes last."""
    try:
        return json.loads(read_small(sweep.out / run.name / "summary.json"))["finished"] is True
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def check_earlier(sweep: Sweep, run: Run) -> None:
    """Raise UserError when the folder holds a run of this name with other settings."""
    path = sweep.config_path(run)
    if path.exists():
        earlier = TrainConfig(**read_config(str(path), read_flags(TrainConfig)))
        if found := different_settings(run.config, earlier):
            raise UserError(f"{path} has other settings ({'; '.join(found)}): pass another out, or remove it")


def train(sweep: Sweep, run: Run, launch: Launcher) -> bool:
    """Train a run, or what is left of it; whether it succeeded. Ends the program when a signal stopped it."""
    if is_done(sweep, run):
        print(f"{run.name}: done before")
        return True
    print(f"{run.name}: training", flush=True)
    path = sweep.config_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, config_text(run.config).encode())
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", sweep.processes]
    program = launcher if sweep.processes > 1 else [sys.executable]
    status = launch([*program, ROOT / "train" / "main.py", "--config", path, "--resume"])
    if launch.stopped:
        print("stopped: the same command continues")
        sys.exit(0)
    return status == 0 and is_done(sweep, run)


def compare(sweep: Sweep, launch: Launcher) -> None:
    """Measure all networks on the split of the sweep, and say where the report and the curves are."""
    path = sweep.out / f"{EVALUATION}.toml"
    write_file(path, config_text(sweep.evaluation).encode())
    status = launch([sys.executable, ROOT / "tools" / "evaluate.py", "--config", path])
    if status:
        sys.exit(status)
    print(f"curves of all runs: tensorboard --logdir {sweep.out}")


if __name__ == "__main__":
    cli.run(main)
