"""`make film` killed at known moments: `python tests/support/film_kills.py FOLDER KILLS`.

Every process of a film is forked from one that has imported everything, and its networks are tiny. A moment is a change
of the disk, the nth of a stage, counted over all processes of the film. The signal comes before that change.
"""

import hashlib
import json
import math
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from model import checkpoint
from pack import main as packing
from pack import pipeline
from tests.support import ROOT
from tests.support.media.depth_files import nearness, write_export
from tests.support.media.shot_films import make_shots
from tests.support.training.trainings import create_tiny, sha256
from tools import cli, evaluate, stereo
from tools.film import __main__ as film
from tools.film import strength, summary, survey, tune
from tools.film.programs import run
from tools.synthesis import conversion
from train import build as training
from train import main as trainer

MAINS = {
    "pack/main.py": packing.main,
    "train/main.py": trainer.main,
    "tools/evaluate.py": evaluate.main,
    "tools/stereo.py": stereo.main,
}
STAGES = {1: "depth", 2: "records", 3: "tuning", 4: "certificate", 5: "conversion"}
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}  # names of audit events
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVALUATIONS = 3  # after which the tuning ends
# of the shared numbers: the stage and the changes in it, the moment, and process numbers
STAGE, COUNT, AIM, AT, NUMBER, VICTIM, FILM, PROGRAM, DONE = range(9)
VICTIMS = ("the film", "all processes", "the program")
shared = memoryview(mmap.mmap(-1, 8 * 16)).cast("q")


@dataclass(frozen=True)
class Moment:
    """When which processes get which signal."""

    stage: int
    change: int
    number: signal.Signals
    victim: int  # of VICTIMS


class Forked:
    """A program in a process that is forked, in place of subprocess.Popen."""

    def __init__(self, command, env, start_new_session, preexec_fn):
        sys.stdout.flush()
        self.pid, self.returncode = os.fork(), None
        if not self.pid:
            preexec_fn()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            shared[PROGRAM] = os.getpid()
            program, *words = command[1:]
            end(MAINS[Path(program).relative_to(ROOT).as_posix()], program, *words)

    def poll(self):
        if self.returncode is None and (done := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(done[1])
            shared[PROGRAM] = 0
        return self.returncode

    def wait(self, seconds=3600.0):
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("", seconds)
            time.sleep(0.01)
        return self.returncode

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)


def end(main, *argv):
    """Run a program in this process, which ends with it."""
    sys.argv, status = [*map(str, argv)], 1
    try:
        cli.run(main)
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def on_audit(event, arguments):
    if event in CHANGES or (event == "open" and arguments[2] & WRITES):
        shared[COUNT] += 1
        if not shared[DONE] and shared[STAGE] == shared[AIM] and shared[COUNT] >= shared[AT]:
            shared[DONE] = 1
            strike()


def strike():
    number, victim = shared[NUMBER], VICTIMS[shared[VICTIM]]
    if victim == "all processes":
        os.killpg(shared[FILM], number)
    else:
        os.kill((victim == "the program" and shared[PROGRAM]) or shared[FILM], number)


def headline(text):
    """Notes that a stage begins. A moment that the one before it had not come to, as two processes count, comes now."""
    print(text, flush=True)
    if shared[AIM] and not shared[DONE] and shared[STAGE] == shared[AIM]:
        shared[DONE] = 1
        strike()
    shared[STAGE], shared[COUNT] = int(text[0]) if text[0].isdigit() else 0, 0


def prepare():
    """Change the programs for this and all forked processes."""
    torch.set_num_threads(1)
    checkpoint.create_network = training.create_network = create_tiny
    run.subprocess = SimpleNamespace(Popen=Forked, TimeoutExpired=subprocess.TimeoutExpired)
    run.TICK = 0.1
    film_stages = sys.modules["tools.film.stages"]
    film_stages.tuning_processes = lambda _: 1
    tune.OPEN_END, tune.NOTED = EVALUATIONS, math.inf  # no change of the disk because time has passed
    tune.evaluations_since_best = lambda model: tune.PATIENCE * (len(tune.losses(model)) >= EVALUATIONS)
    conversion.PART = 30
    summary.headline = headline
    strength.USUAL, strength.STRONGEST, survey.STRONGEST = 25.0, 12.0, 12.0  # so that so small a film has holes
    pipeline.LEAST_HOLES = 60
    sys.addaudithook(on_audit)


def live(words, folder, moment: Moment | None) -> tuple[int, bool]:
    """Run the film until its end or its death at the moment: the status, and whether the moment came."""
    for slot in range(9):
        shared[slot] = 0
    if moment:
        shared[AIM], shared[AT], shared[NUMBER], shared[VICTIM] = (
            moment.stage, moment.change, moment.number, moment.victim
        )  # fmt: skip
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        shared[FILM] = os.getpid()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        os.chdir(folder)
        end(film.main, "tools/film", *words)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, bool(shared[DONE])


def results(folder: Path) -> dict[str, str]:
    """Everything that a film leaves, by name, without times: two runs with equal results are bit-identical."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in ("log", "x_LR.film/costs.json") or "/certificate/" in name:
            continue
        if name in ("x_LR.film/certified.json", "x_LR.film/film.json"):  # of a network's file, which holds a time
            continue
        if "/model/" in name:
            if name.endswith("v1.pth"):
                found[name] = sha256(checkpoint.read_file(path)["state_dict"])
            if path.suffix == ".csv":
                found["losses"] = path.read_text()
        elif name.endswith("tuning.json"):
            found[name] = json.loads(path.read_text())["ended"]
        elif path.suffix == ".html" or name.endswith("confidence.json"):
            text = re.sub(r"[\dhms ]+ of tuning|[0-9a-f]{64}", "", path.read_text())
            found[name] = hashlib.sha256(text.encode()).hexdigest()
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    clips = json.loads((folder / "x_LR.film/certificate/metrics.json").read_text())["clips"]
    return found | {"measures": hashlib.sha256(json.dumps(clips).encode()).hexdigest()}


def moments(counts: dict[int, int], kills: int) -> Iterator[Moment]:
    """A moment of each stage in turn; the signals and their victims differ from turn to turn."""
    drawn = random.Random(0)
    ways = [(signal.SIGKILL, 1), (signal.SIGTERM, 0), (signal.SIGKILL, 0), (signal.SIGKILL, 2), (signal.SIGTERM, 2)]
    for number in range(kills):
        turn, stage = number // len(STAGES), number % len(STAGES)
        yield Moment(stage + 1, drawn.randint(1, max(1, counts[stage + 1])), *ways[(turn + stage) % len(ways)])


def main() -> None:
    folder, kills = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    clip = make_shots(folder / "film.mkv", shots=6, length=16, size=(96, 96))
    depth = write_export(folder / "depth", nearness(clip), fps=24)
    prepare()
    start = folder / "start.pth"
    checkpoint.save_network(start, create_tiny("inpaint.light_video_inpaint_v1"))
    words = ["--video", clip, "--depth", depth, "--checkpoint", start, "--divergence", "auto", "--confidence"]
    words += ["--device", "cpu", "--tile", 64, "--learning-rate", 0.001, "-o", "x_LR.mkv"]
    words = [str(word) for word in words]
    (whole := folder / "whole").mkdir()
    counts = counted(words, whole)
    expected = results(whole)
    done, lives, left = Counter(), 0, list(moments(counts, kills))
    while left:
        lives += 1
        done += one_film(words, folder / f"killed{lives}", left, expected)
    print(
        f"{sum(done.values())} kills in {lives} films, each ended with the same film, network and certificate, "
        f"{len(expected)} results: " + ", ".join(f"{name} {count}" for name, count in sorted(done.items()))
    )


def counted(words, folder) -> dict[int, int]:
    """The changes of the disk in each stage of a film that nothing interrupts."""
    noted = folder.with_suffix(".counts")
    before = summary.headline

    def note(text):
        with open(noted, "a") as file:
            file.write(f"{shared[STAGE]} {shared[COUNT]}\n")
        before(text)

    summary.headline = note
    status, _ = live(words, folder, None)
    summary.headline = before
    log = (folder / "log").read_text()
    assert not status and "dB" in log, log
    return {int(stage): int(count) for stage, count in (line.split() for line in noted.read_text().splitlines())}


def one_film(words, folder, left: list[Moment], expected) -> Counter:
    """Start a film again and again, killed at the next of the moments that are left, until it ends."""
    folder.mkdir()
    done: Counter = Counter()
    moment: Moment | None = None
    while True:
        moment = left.pop(0) if left and (moment is None or left[0].stage > moment.stage) else None
        status, struck = live(words, folder, moment)
        log = (folder / "log").read_text()
        assert "Traceback" not in log, log
        if not status:
            break
        assert moment and struck and status in (-signal.SIGKILL, 2, 143), (moment, status, log)
        done[f"{STAGES[moment.stage]} {moment.number.name} of {VICTIMS[moment.victim]}"] += 1
    found = results(folder)
    assert found == expected, (
        [(name, found.get(name), expected.get(name)) for name in found.keys() | expected.keys()
         if found.get(name) != expected.get(name)], log
    )  # fmt: skip
    shutil.rmtree(folder)
    return done


if __name__ == "__main__":
    main()
