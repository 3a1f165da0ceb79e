"""Small films with something in front of something else, and how tests pack them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np

from pack import main as program
from pack.shards.record import decode
from pack.shards.shard import list_shards, read_record
from tests.support import ROOT
from tests.support.programs import refused, succeeds

SMALL = "--resolution 64 --short-sides 192 --size 160 --divergence-level 3 --skip-interval 4".split()


def make_video(path: Path, frames: int = 60, width: int = 192, height: int = 144, seed: int = 0, fps: int = 25) -> Path:
    """Bright boxes that move over a dim, slowly panning background."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 90, (height // 8 + 1, (width + frames) // 8 + 2, 3)).repeat(8, 0).repeat(8, 1)
    lefts = rng.integers(0, width // 2, 6)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            picture = texture[:height, t : t + width].copy()
            for k, left in enumerate(lefts):
                top, x = 4 + k * height // 6, (left + (k % 3 - 1) * t) % (width - 40)
                picture[top : top + height // 7, x : x + 36] = 160 + 15 * k
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class Brightness:
    """A depth model that takes no time: what is bright is near."""

    metric = False

    def __init__(self, *_):
        pass

    def __call__(self, frames):  # (T 3 H W) -> (T 1 H/2 W/2)
        return frames.mean(1, keepdim=True)[..., ::2, ::2].contiguous()


def pack(out, *words):
    return succeeds(program.main, "-o", out, *SMALL, *words)


def refuse(out, *words):
    line = refused(program.main, "-o", out, *SMALL, *words)
    assert line.startswith("error: ") and not list(Path(out).glob("*.tmp"))
    return line


def start(*words, program=ROOT / "pack/main.py", more=None, **options):
    """A packing in a process of its own, with the depth model that it has by default.

    `more` is added to the environment.
    """
    words = [sys.executable, str(program), *SMALL, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (more or {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=environment, **pipes | options)


@contextlib.contextmanager
def held(hold, *words, **options):
    """A packing whose processes each wait behind their second clip while the file `hold` exists."""
    hold.touch()
    process = start(*words, program=ROOT / "tests/support/media/held_packing.py", more={"HOLD": str(hold)}, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lines(err):
    """What a packing said on stderr, without its progress."""
    return [line for line in err.splitlines() if not line.startswith("packing ")]


def digests(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def records(folder):
    return [decode(entry.key, read_record(shard, entry)) for shard in list_shards(folder) for entry in shard.records]


def wait_for(condition, process):
    """Wait while the program runs; after eight minutes it ends, and with PYTHONFAULTHANDLER=1 says where it stands."""
    end = time.monotonic() + 480
    while not condition():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > end:
            process.send_signal(signal.SIGABRT)
            raise AssertionError(process.communicate())
        time.sleep(0.01)
