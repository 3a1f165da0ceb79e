"""Whole trainings of a tiny network, in processes that fork from a server with torch already imported."""

import atexit
import contextlib
import functools
import gc
import hashlib
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file, as the server that the trainings fork from
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import pytest
import torch
from PIL import Image

from model.checkpoint import read_file
from model.light_video_inpaint import LightVideoInpaint
from tests.support.processes import is_stopped
from tests.support.servers import ports

NAME = "inpaint.light_video_inpaint_v1"
# what a training imports, which takes seconds
PRELOADED = (
    "tests.support.hostile.fault_injection train.main train.build train.loop "
    "torch.utils.tensorboard torch._dynamo sympy"
).split()
FLAGS = (
    "--loss temporal_l1 --tile 64 --num-samples 48 --backward-step 2 --max-epoch 4 --learning-rate-cycles 1 "
    "--eval-step 1 --save-every-steps 1 --num-workers 0 --seed 1 --disable-amp"
).split()  # in fp32, because not every processor has bf16


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A fixture for modules that import it: on a busy machine, several threads slow small tensors down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Processes:
    """The processes of one training, by rank."""

    pids: list[int]
    folder: Path

    def wait(self, seconds=480) -> list[int]:
        """Their exit statuses; of a process that a signal ended, its negative number."""
        return [ask(wait=pid, seconds=seconds) for pid in self.pids]

    def kill(self, number=signal.SIGKILL, ranks=None):
        for pid in self.pids if ranks is None else [self.pids[rank] for rank in ranks]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log(self, rank=0) -> str:
        return (self.folder / f"{rank}.log").read_text()

    def wait_for_log(self, text):
        """Wait until the first process has printed the text."""
        wait_until(lambda: text in self.log(), lambda: f"no {text!r} in:\n{self.log()}")

    def wait_until_stopped(self, rank=0):
        """Wait until a process has been stopped as by Ctrl-Z."""
        wait_until(lambda: is_stopped(self.pids[rank]), lambda: f"not stopped:\n{self.log(rank)}")


def wait_until(holds, message=lambda: "", seconds=480):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, message()
        time.sleep(0.02)


def start(folder, *flags, world=1, hooks=(), hooked=None, others=(), more=None) -> Processes:
    """Start `train/main.py *flags`; `hooks` (see fault_injection) change the ranks `hooked`, by default all.

    The hooks `others` change the other ranks, and `more` is added to the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = ports.reserve()  # until rank 0 listens there, so as long as the job is looked at
    port, pids = held.getsockname()[1], []
    for rank in range(world):
        env = {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        env |= more or {}
        (folder / f"{rank}.log").touch()
        mine = hooks if hooked is None or rank in hooked else others
        pids.append(ask(argv=[*map(str, flags)], env=env, log=str(folder / f"{rank}.log"), hooks=mine))
    job = Processes(pids, folder)
    weakref.finalize(job, held.close)
    return job


def train(folder, *flags, **options) -> Processes:
    """Run a training to its end and assert that it succeeds."""
    job = start(folder, *flags, **options)
    statuses = job.wait()
    assert not any(statuses), (statuses, *(job.log(rank) for rank in range(len(statuses))))
    return job


def command(data, folder, *flags) -> list[str]:
    """The flags of a tiny training."""
    return ["-i", str(data), "--model-dir", str(folder), *FLAGS, *flags]


def checkpoint(folder) -> dict:
    return read_file(Path(folder) / f"{NAME}.checkpoint.pth")


def sha256(value) -> str:
    """A hash of nested dicts and lists of tensors and plain values, exact to the last bit."""
    total = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for name in value:
                add(name)
                add(value[name])
        elif isinstance(value, (list, tuple)):
            total.update(b"%d" % len(value))
            for item in value:
                add(item)
        elif isinstance(value, torch.Tensor):
            total.update(str((value.dtype, value.shape)).encode() + value.numpy().tobytes())
        else:
            total.update(repr(value).encode())

    add(value)
    return total.hexdigest()


def results(folder) -> dict[str, str]:
    """All results of a training by name, most as a sha256: two runs with equal results are bit-identical."""
    saved, best = checkpoint(folder), read_file(folder / f"{NAME}.pth")
    run_id = saved["backfill"]["place"].pop("run_id")
    backups = [read_file(path)["state_dict"] for path in sorted(folder.glob("*.pth.bk"))]
    files = {path.name: path.read_bytes() for path in sorted((folder / "eval").glob("*.png"))}
    quarantine = folder / "quarantine.jsonl"
    return {
        "weights and optimizer": sha256([saved["state_dict"], saved["optimizer_state_dict"]]),
        "checkpoint": sha256(
            {name: saved[name] for name in sorted(saved) if name not in ("updated_at", "train_kwargs")}
        ),
        "best": sha256(best["state_dict"]),
        "backups": sha256(backups),
        "csv": (folder / f"loss_{run_id}.csv").read_text(),
        "pictures": sha256(files),
        "curves": sha256(curves(folder)),
        "quarantine": quarantine.read_text() if quarantine.exists() else "",
        "runs": str(len(list((folder / "logs").iterdir()))),
    }


def curves(folder) -> dict[str, list]:
    """Every TensorBoard point as its own reader shows it, except speeds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of the points that a purge drops
    points = {}
    for run in sorted((folder / "logs").glob("*/*")):
        reader = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
        reader.Reload()
        for tag in reader.Tags()["scalars"]:
            if not tag.startswith("speed/"):
                points[f"{run.name}/{tag}"] = [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["images"]:
            points[f"{run.name}/{tag}"] = [
                (event.step, hashlib.sha256(event.encoded_image_string).hexdigest()) for event in reader.Images(tag)
            ]
        for tag in reader.Tags()["tensors"]:
            points[f"{run.name}/{tag}"] = [event.step for event in reader.Tensors(tag)]
    return points


@functools.cache
def server() -> subprocess.Popen:
    """The server process that the trainings fork from, started once."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )
    atexit.register(process.kill)
    return process


def ask(**request) -> int:
    """The server's answer to a request, see `serve`."""
    print(json.dumps(request), file=server().stdin, flush=True)
    return int(server().stdout.readline())


def serve() -> None:
    """Answer requests, a JSON object per line: fork a training (answer: its pid) or wait for one (its status)."""
    for module in PRELOADED:
        importlib.import_module(module)
    Image.init()
    gc.freeze()  # a collection in a fork would copy every page
    torch.set_num_threads(1)
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "wait" in request:
            answer = wait(request["wait"], request["seconds"])
        else:
            answer = os.fork()
            if not answer:
                os.setpgid(0, 0)  # a signal to the group reaches it and its workers only
                run_training(**request)
        print(answer, flush=True)


class NoStop:
    """A train.runtime.signals.Stop without a signal."""

    name = ""

    def bounded(self, items, _source):
        return iter(items)


def create_tiny(name, init="copy", generator=None):
    """Replaces model.checkpoint.create_network: a network of 4 channels, whatever its name."""
    return LightVideoInpaint(base_dim=4, init=init, generator=generator)


def wait(pid, seconds) -> int:
    """The exit status of a child, which is killed after so many seconds."""
    end = time.monotonic() + seconds
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(done[1])


def run_training(argv, env, log, hooks) -> None:
    """Run train/main.py in this process, which ends with it; its output goes to `log`."""
    # imported here: the server preloads them, tests that use this module need not
    from tests.support.hostile.fault_injection import HOOKS
    from tools import cli
    from train import build as setup
    from train import main

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
        os.dup2(target, stream)
    os.environ.update(env)
    sys.argv = ["train/main.py", *argv]
    setup.create_network = create_tiny
    for name, *arguments in hooks:
        HOOKS[name](*arguments)
    cli.run(main.main)


def run_under_torchrun() -> None:
    """Run a worker of `torchrun trainings.py LOG HOOKS FLAGS...`; the hooks are for rank 1 before it is restarted."""
    _, log, hooks, *flags = sys.argv
    hooked = os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    run_training(flags, {}, f"{log}/{os.environ['RANK']}.log", json.loads(hooks) if hooked else [])


if __name__ == "__main__":
    serve() if len(sys.argv) == 1 else run_under_torchrun()
