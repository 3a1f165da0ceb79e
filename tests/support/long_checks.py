"""Long forms of tests, with figures: `python tests/support/long_checks.py [NAME ...]`."""

import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from tests.pack.shards.test_faults import KINDS, Injector, flip
from tests.support import ROOT
from tests.support.hostile import fuzzing as fuzzing_files
from tests.support.hostile import fuzzing_others, run
from tests.support.media.stereo_films import peak_of_conversion
from tests.support.media.videos import film
from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.elastic import elastic
from tests.train.checkpoints.test_resume import live, random_moments
from tests.train.data.test_stream import growth
from train.data.plan import Plan

KILLS, FAULTS, SAMPLES, RECORDS, INPUTS = 20, 1000, 5000, 10_000_000, 100_000
BATCH = 5000  # inputs of one process
# readers of what atheris does not make: text, dicts, bytes with checksums of their own
OF_VALUES = {"braces", "forged", "jobs", "name", "page", "repeated", "resume"}
FILM = 800  # seconds: 20,000 frames
FILM_KILLS = 100
CASES = {"adamw": ("--optimizer", "adamw"), "adamw_schedulefree": ("--optimizer", "adamw_schedulefree")}


def plan(_folder):
    """Planning an epoch of ten million records in 100,000 shards, each in a process of its own."""
    for name, window, weights in (
        ("permutation", 0, False),
        ("permutation, 64 shards at a time", 64, False),
        ("weighted draws", 0, True),
        ("weighted draws, 64 shards at a time", 64, True),
    ):
        pid = os.fork()
        if not pid:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            sizes = [RECORDS // 100_000] * 100_000
            weight = np.random.default_rng(0).uniform(0.25, 1, RECORDS).astype(np.float32) if weights else None
            began = time.monotonic()
            row = Plan(sizes, 1668, seed=1, window=window).records(777, weight)
            seconds = time.monotonic() - began
            megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(
                f"{name}: {len(row)} slots of {RECORDS} records in {seconds:.2f} s and {megabytes:.0f} MB", flush=True
            )
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0


def kills(folder):
    """Runs that are killed over and over end as one that was never touched."""
    data = make_data(folder / "data", records=6, evaluation=3, size=80)
    flip(data / "train", record=1, at=0.5)
    for case, more in CASES.items():
        trainings.train(folder / case, *trainings.command(data, folder / case, *more))
        expected = trainings.results(folder / case)
        for world in (1, 2):
            kill(folder / f"{case}{world}", data, more, world, expected)


def kill(folder, data, more, world, expected):
    moments, began, where, lives = random_moments(f"{folder.name}"), time.monotonic(), Counter(), 0

    def counted():
        for moment in moments:
            where[moment[1].rpartition(".")[2]] += 1
            yield moment

    done = 0
    while done < KILLS:
        lives += 1
        model = folder / str(lives)
        done += live(model, trainings.command(data, model, *more), world, counted())
        found = trainings.results(model)
        assert found == expected, {
            name: (found[name], expected[name]) for name in found if found[name] != expected[name]
        }
    print(
        f"{folder.name}: {done} kills in {lives} runs on {world} processes, each ended with weights and optimizer "
        f"{expected['weights and optimizer'][:16]} and the same curve, {time.monotonic() - began:.0f} s; aimed at "
        + ", ".join(f"{name} {count}" for name, count in where.most_common()),
        flush=True,
    )


def compiled(folder):
    """Two processes with --compile that are killed inside an epoch end as those that were never touched."""
    data, began = make_data(folder / "data", records=6, evaluation=3, size=80), time.monotonic()
    flags = ("--compile", "--num-samples", "192", "--max-epoch", "2", "--save-every-steps", "3")
    patience = 3600  # seconds that a process may take to compile on a busy machine
    whole = trainings.start(folder / "whole", *trainings.command(data, folder / "whole", *flags), world=2)
    assert whole.wait(patience) == [0, 0] and "--compile has no effect" not in whole.log(), whole.log()
    command = trainings.command(data, folder / "killed", *flags, "--resume")
    for rank, steps in enumerate((6, 4)):  # of the 8: the second life begins behind the third
        hook = ["signal at", "train.loop.step", steps, signal.SIGKILL]
        job = trainings.start(folder / "killed", *command, world=2, hooks=[hook], hooked=[rank])
        assert job.wait(patience)[rank] == -signal.SIGKILL, job.log()
    done = trainings.start(folder / "killed", *command, world=2)
    assert done.wait(patience) == [0, 0], done.log()
    found, expected = trainings.results(folder / "killed"), trainings.results(folder / "whole")
    assert found == expected, {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}
    print(
        f"2 kills, the same weights and optimizer {found['weights and optimizer'][:16]}, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )


def faults(folder):
    """Injected faults are caught by training and by verify, and none becomes a sample."""
    injector, rng, counts = Injector(folder), random.Random(0), Counter()
    began = time.monotonic()
    for number in range(FAULTS):
        kind = list(KINDS)[number % len(KINDS)]
        injector.inject(kind, rng)
        counts[kind] += 1
    print(f"{FAULTS} faults, all caught, in {time.monotonic() - began:.0f} s: " + ", ".join(map(str, counts.items())))


def memory(folder):
    """A worker over many samples."""
    grown, held = growth(folder, SAMPLES, warm=1000)
    print(
        f"a worker grew by {grown / 1e6:.2f} MB from its 1000th to its {SAMPLES}th sample and holds {held / 1e6:.0f} MB"
    )


def signals(folder):
    """From a signal to the end of the process, with a checkpoint, of the real network at its real size."""
    data = make_data(folder / "data", records=4, evaluation=4, size=272)
    flags = ["-i", str(data), "--loss", "temporal_l1", "--num-samples", "96", "--num-workers", "2", "--seed", "1"]
    for number, text, more in (
        (signal.SIGTERM, "parameters on", ()),
        (signal.SIGINT, "parameters on", ()),
        (signal.SIGUSR1, "resumed in", ()),
        (signal.SIGTERM, "evaluat", ("--num-samples", "48", "--eval-step", "1", "--backward-step", "4")),
    ):
        model = folder / f"{number}{text}".replace(" ", "")
        process, log = begin([ROOT / "train/main.py", *flags, *more, "--model-dir", model, "--resume"], model)
        if text == "evaluat":
            wait_for(lambda model=model: list((model / "eval").glob("*.png")))
        else:
            wait_for(lambda log=log: "parameters on" in log.read_text())
            time.sleep(8)
        report(process, log, number, os.kill, "one process")


def torchrun(folder):
    """Signals to torchrun itself and to one of its workers."""
    data = make_data(folder / "data", records=6, evaluation=3, size=80)
    for turn, (number, target) in enumerate(
        [
            (signal.SIGTERM, "torchrun"),
            (signal.SIGINT, "torchrun"),
            (signal.SIGUSR1, "torchrun"),
            (signal.SIGTERM, "a worker"),
        ]
    ):
        model = folder / str(turn)
        options = [
            "--standalone",
            "--nproc-per-node",
            2,
            "--signals-to-handle",
            "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
        ]
        script = [
            trainings.__file__,
            model,
            json.dumps([]),
            *trainings.command(data, model, "--max-epoch", "300", "--resume"),
        ]
        process, _ = begin(["-m", "torch.distributed.run", *options, *script], model)
        wait_for(lambda model=model: (model / "0.log").exists() and "epoch 1/" in (model / "0.log").read_text())
        worker = int(subprocess.check_output(["pgrep", "-P", str(process.pid), "-f", "trainings.py"]).split()[0])
        report(process, model / "0.log", number, os.kill, target, None if target == "torchrun" else worker)
        assert "Traceback" not in (model / "0.log").read_text() + (model / "1.log").read_text()


def begin(command, model):
    model.mkdir(parents=True, exist_ok=True)
    log = model / "log"
    with open(log, "w") as out:
        return subprocess.Popen([sys.executable, *map(str, command)], stdout=out, stderr=out, cwd=ROOT), log


def wait_for(holds, seconds=300):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def report(process, log, number, send, target, pid=None):
    began = time.monotonic()
    send(pid or process.pid, number)
    status = process.wait(120)
    seconds, last = time.monotonic() - began, log.read_text().splitlines()[-1]
    print(f"{number.name} to {target}: ended after {seconds:.1f} s with status {status}: {last}", flush=True)
    assert "continues from there" in last


def disk(folder):
    """A disk that is full at one moment or another: one line, status 2, and a checkpoint that reads."""
    data = make_data(folder / "data", records=4, evaluation=2, size=80)
    full = folder / "full"
    full.mkdir()
    for kilobytes in (1000, 3000, 4600, 5000, 5300):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", full]).returncode:
            print("disk: left out, a file system of a given size cannot be mounted here")
            return
        try:
            log = folder / str(kilobytes)
            job = trainings.start(log, *trainings.command(data, full / "model", "--max-epoch", "9"))
            assert job.wait() == [2] and "Traceback" not in job.log()
            steps = [trainings.checkpoint(full / "model")["backfill"]["place"]["step"]] if kilobytes > 2000 else []
            print(f"{kilobytes} kB: {job.log().splitlines()[-1]}; the checkpoint is of step {steps}", flush=True)
        finally:
            subprocess.run(["umount", full], check=True)


def films(folder):
    """Conversions of a film and of one ten times as long, sound included, take as much memory."""
    peaks = {}
    for seconds in (FILM // 10, FILM):
        source = film(folder / f"{seconds}.mkv", seconds, rate=25)
        began = time.monotonic()
        frames, peaks[seconds] = peak_of_conversion(source, folder / f"{seconds}.mp4")
        print(f"{frames} frames: {peaks[seconds]:.0f} MiB at most, {time.monotonic() - began:.0f} s", flush=True)
    assert peaks[FILM] - peaks[FILM // 10] < 8


def one_film(folder):
    """`make film` killed in every stage, again and again: the same film, network and certificate in the end."""
    program = [sys.executable, ROOT / "tests/support/film_kills.py", folder, str(FILM_KILLS)]
    done = subprocess.run([*map(str, program)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout, end="", flush=True)


def fuzzing(folder):
    """Every reader against 100,000 hostile inputs, each in less than 1 s of CPU time and 200 MB."""
    counts = Counter()
    for number in range(INPUTS // BATCH):  # hypothesis remembers every input, which takes memory too
        began = time.monotonic()
        for name in run.readers(folder):
            counts[name] += run.fuzz(name, folder, BATCH, number, copies=10)
        least, name = min((count, name) for name, count in counts.items())
        seconds = time.monotonic() - began
        print(f"{number}: {counts.total()} inputs, {least} or more for each ({name}), {seconds:.0f} s", flush=True)


def covering(folder):
    """Readers of bytes against inputs that atheris steers to code that no input has reached yet."""
    if importlib.util.find_spec("atheris") is None:
        print("covering: left out, atheris is not installed: pip install atheris")
        return
    for name in sorted((fuzzing_files.readers(folder) | fuzzing_others.readers(folder)).keys() - OF_VALUES):
        began, place = time.monotonic(), folder / name
        program = [sys.executable, ROOT / "tests/support/hostile/covering.py", name, str(INPUTS), place]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"{name}: {INPUTS} inputs of atheris in {time.monotonic() - began:.0f} s", flush=True)


def interruptions(folder):
    """Programs that change files, stopped at every line of their code."""
    for case in ("split", "pull", "parts"):
        for how in ("interrupt", "kill"):
            harness = ROOT / "tests" / "support" / "hostile" / "interrupts.py"
            subprocess.run([sys.executable, harness, case, how, "1", folder / f"{case}-{how}"], check=True)


TESTS = {
    test.__name__: test
    for test in (
        plan,
        kills,
        compiled,
        faults,
        memory,
        films,
        one_film,
        signals,
        torchrun,
        disk,
        fuzzing,
        covering,
        interruptions,
        elastic,
    )
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or TESTS:
        print(f"== {name}: {TESTS[name].__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as place:
            TESTS[name](Path(place))
