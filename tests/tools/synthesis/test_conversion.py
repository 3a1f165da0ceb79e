"""An interrupted conversion goes on, and the film comes out as without the interruption."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch

from pack.holes.mappers import mapper
from pack.video.output.join import join
from pack.video.output.parts import Parts
from pack.video.shot_reader import Shot, read_shots
from tests.support import ROOT
from tests.support.media.films import make_video, wait_for
from tests.support.media.stereo_films import H264
from tests.support.media.videos import grey, moving, write
from tools.synthesis import conversion
from tools.synthesis.confidence import Confidence, ErrorMaps
from tools.synthesis.conversion import Converter, shots_from
from tools.synthesis.layouts import compose
from tools.synthesis.views import Geometry, ShotState, block
from train.evaluation.fills import replicate


class Moody:
    """Nearness that depends on all frames of a window, so that every window starts anew."""

    metric = False

    def __call__(self, frames):  # (T 3 H W) -> (T 1 H/2 W/2)
        grey = frames.mean(1, keepdim=True)[..., ::2, ::2]
        return (grey + 0.3 * grey.mean()).contiguous()


class Stop(Exception):
    pass


def converter(stop_at=None):
    """A converter with a fill that sees all frames of the queue, and that fails at its nth call."""
    calls = 0

    def fill(frames, holes):
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Stop
        return torch.where(holes, frames.mean((0, 2, 3))[:, None, None], frames)

    geometry = Geometry(4, 0.5, mapper("none"))

    def composed(lefts, rights):
        return compose("sbs", lefts[0], rights[0])

    return Converter(Moody(), [fill], geometry, composed, torch.device("cpu"))


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """A film of shots of 110, 7 and 60 frames."""
    frames = moving(177, (64, 48))
    frames[110:117] = [grey(220, (64, 48)) for _ in range(7)]
    return write(tmp_path_factory.mktemp("shots") / "a.mp4", frames)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(conversion, "PART", 40)


def run(out, source, stop_at=None, seconds=0, errors=None):
    """Convert what is left; the frames done before, and how many there are in the end."""
    made = converter(stop_at)
    if errors:
        maps = ErrorMaps(errors, Confidence((2.0, 0.5, 0.2, 0.9), ""))
        made = replace(made, fills=[*made.fills, replicate], errors=maps, geometry=Geometry(20, 0.5, mapper("none")))
    with Parts(out, {}, H264, 25) as parts:
        before = parts.finished
        made.convert(parts, read_shots(source), seconds, lambda _: None)
        join(parts, source, [], whole=not seconds)
        parts.remove()
    return before, len(parts.ticks)


@pytest.mark.slow
def test_a_film_stopped_anywhere_ends_up_the_same(tmp_path, shots, small_parts):
    assert run(tmp_path / "whole.mp4", shots) == (0, 177)
    whole = (tmp_path / "whole.mp4").read_bytes()
    for stop_at, kept in ((9, 0), (10, 48), (20, 96), (29, 165)):  # passes of 6 frames
        out = tmp_path / f"{stop_at}.mp4"
        with pytest.raises(Stop):
            run(out, shots, stop_at)
        assert run(out, shots) == (kept, 177)
        assert out.read_bytes() == whole


@pytest.mark.slow
def test_a_film_is_stopped_again_and_again(tmp_path, shots, small_parts):
    run(tmp_path / "whole.mp4", shots)
    done = []
    for _ in range(3):
        with pytest.raises(Stop):
            run(tmp_path / "o.mp4", shots, 10)
        with Parts(tmp_path / "o.mp4", {}, H264, 25) as parts:
            done.append(parts.finished)
    assert done == [48, 96, 96]  # the third was stopped in a part
    run(tmp_path / "o.mp4", shots)
    assert (tmp_path / "o.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_the_first_seconds_end_at_the_same_frame_after_a_stop(tmp_path, shots, small_parts):
    run(tmp_path / "whole.mp4", shots, seconds=3)
    with pytest.raises(Stop):
        run(tmp_path / "o.mp4", shots, 12, seconds=3)
    assert run(tmp_path / "o.mp4", shots, seconds=3) == (48, 75)
    assert (tmp_path / "o.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_expected_errors_of_frames_are_the_same_after_a_stop(tmp_path, shots, small_parts):
    def written(name):
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    run(tmp_path / "whole.mp4", shots, seconds=3, errors=tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "o.mp4", shots, 12, seconds=3, errors=tmp_path / "o")
    assert run(tmp_path / "o.mp4", shots, seconds=3, errors=tmp_path / "o") == (48, 75)
    assert written("o") == written("whole") and len(written("o")) == 75
    assert len(set(written("o").values())) > 10


def test_shots_are_found_again_behind_any_number_of_frames():
    lengths = (50, 3, 100)

    def found(frames, state):
        numbers = iter(range(sum(lengths)))
        shots = (Shot(islice(numbers, length)) for length in lengths)
        return [(list(shot), state.start) for shot, state in shots_from(shots, frames, state)]

    assert [len(shot) for shot, _ in found(0, ShotState())] == [50, 3, 100]
    assert found(50, ShotState()) == [([50, 51, 52], 0), (list(range(53, 153)), 0)]
    assert found(53 + 96, ShotState(96)) == [(list(range(145, 153)), 96)]


@pytest.mark.parametrize("overlap", [(3, 0), (0, 0), (6, 2), (5, 0)])
def test_a_shot_continues_at_every_block_with_every_overlap_of_the_queue(overlap):
    frames = [(Fraction(n, 25), frame.to_ndarray(format="rgb24")) for n, frame in enumerate(moving(150, (48, 32)))]
    whole = replace(converter(), overlap=overlap)

    def pictures(first, state):
        found = whole._pictures([(Shot(iter(frames[first:])), state)])
        return [(view, picture) for view, picture, _ in found]

    expected = pictures(0, ShotState())
    places = [n for n, (view, _) in enumerate(expected) if view.state is not None]
    assert places == list(range(0, 150, block(overlap))) and len(places) > 1
    for place in (places[1], places[-1]):
        state = ShotState.from_arrays(expected[place][0].state.arrays(), torch.device("cpu"))
        found = pictures(place - state.context, state)
        assert [view.seconds for view, _ in found] == [view.seconds for view, _ in expected[place:]]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(found, expected[place:], strict=True))


def test_a_state_survives_its_file():
    state = ShotState(48, torch.tensor(0.1), torch.tensor(0.9), torch.rand(4, 1, 3, 5), torch.rand(3, 1, 3, 5))
    again = ShotState.from_arrays(state.arrays(), torch.device("cpu"))
    assert again.start == 48
    assert all(torch.equal(getattr(again, name), getattr(state, name)) for name in ("low", "high", "ahead", "nearness"))
    assert ShotState.from_arrays(ShotState().arrays(), torch.device("cpu")) == ShotState()


PROGRAM = """
import os, sys, time
sys.argv[0] = "stereo.py"
from tools import cli, stereo
from tools.synthesis import conversion
from tools.synthesis.pace import Pace
conversion.PART = 40
show = Pace.show
def held(pace, frames):
    show(pace, frames)
    while os.path.exists(os.environ["HOLD_IN"]):
        time.sleep(0.02)
Pace.show = held
cli.run(stereo.main)
"""


def start(*words, hold_in=""):
    """A conversion in parts of 40 frames or more, which waits for ever when it has begun the part of this file."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HOLD_IN": str(hold_in)}
    environment["PYTHONFAULTHANDLER"] = "1"
    words = [
        sys.executable,
        "-c",
        PROGRAM,
        "--device",
        "cpu",
        "--baseline",
        "replicate",
        *map(str, words),
    ]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_program_continues_and_leaves_nothing_but_parts(tmp_path):
    source = make_video(tmp_path / "a.mp4", frames=280, width=64, height=48)  # 4 parts or more, by its cuts
    whole, out = tmp_path / "whole.mkv", tmp_path / "o.mkv"
    process = start("-i", source, "-o", whole)
    assert process.wait() == 0, process.communicate()
    folder = tmp_path / "o.mkv.parts"
    for number, sent in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)):
        part = folder / f"{number + 1:05d}.mkv"
        process = start("-i", source, "-o", out, hold_in=part)
        wait_for(part.exists, process)
        process.send_signal(sent)
        printed, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 143, 130)
        if sent != signal.SIGKILL:
            assert f"frames are kept in {folder}: run the same command again to continue" in errors
            with np.load(folder / "progress.npz") as progress:
                assert len(list(folder.glob("*.mkv"))) == len(progress["counts"]) > number
        assert number == 0 or "are left" in printed
        assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "whole.mkv", "o.mkv.parts"}
    process = start("-i", source, "-o", out, "--divergence", 3)
    _, errors = process.communicate()
    assert process.returncode == 2 and errors.count("\n") == 1 and "--divergence 2.5 instead of 3.0" in errors
    process = start("-i", source, "-o", out)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    done, left = map(int, re.search(r"(\d+) frames are done, (\d+) are left", printed).groups())
    assert done >= 3 * 40 and done + left == 280
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "whole.mkv", "o.mkv"}


MEMORY = """
import sys, torch
from pathlib import Path
from pack.holes.mappers import mapper
from pack.video.output.parts import Parts
from pack.video.output.encoder import Encoding
from pack.video.shot_reader import read_shots
from tests.support.media.films import Brightness
from tools.cli.machine import peak_memory
from tools.evaluation.baselines import BASELINES
from tools.synthesis.conversion import Converter
from tools.synthesis.views import Geometry
peak = {}
def show(frames):
    if frames in (400, 2400):
        peak[frames] = peak_memory() / (1 << 20)
fills, geometry = [BASELINES["empty"]], Geometry(2.5, 0.5, mapper("none"))
with torch.inference_mode(), Parts(Path(sys.argv[2]), {}, Encoding(), 25) as parts:
    maker = Converter(Brightness(), fills, geometry, lambda left, rights: rights[0], torch.device("cpu"))
    maker.convert(parts, read_shots(Path(sys.argv[1])), 0, show)
print(peak[400], peak[2400])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path):
    source = write(tmp_path / "long.mp4", moving(2410, (96, 96)), options={"preset": "ultrafast"})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / "o.mp4")]
    printed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    before, after = map(float, printed.split())
    assert after - before < 20, printed  # MiB: 2000 frames of 96x96 pixels would be 53
