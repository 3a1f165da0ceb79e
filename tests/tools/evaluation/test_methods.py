"""The fills that an evaluation compares, and what they cost."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from model.checkpoint import save_network
from model.light_video_inpaint import LightVideoInpaint
from tests.support import ROOT
from tests.tools.test_evaluate import tiny_network
from tools.evaluation import methods, network_fill
from tools.evaluation.methods import Method, choose_baselines, load_methods, short_names
from tools.evaluation.quality import Truth, measure
from train.evaluation.evaluate import trim


def test_cost_counts_every_frame_and_leaves_out_the_first_clip():
    method = Method("m", "one frame", lambda frames, holes: frames)
    method.cost.seconds = [9.0, 0.12, 0.24]
    assert method.cost.milliseconds == pytest.approx(15)
    method.cost.seconds = [0.12]
    assert method.cost.milliseconds == pytest.approx(10)


SAMPLED = """
import time, torch
from tools.evaluation import methods
looks, resident_bytes = [], methods.resident_bytes
methods.resident_bytes = lambda: looks.append(resident_bytes()) or looks[-1]
def sampled():
    seen = len(looks)
    while len(looks) < seen + 2:  # the first one may have begun before
        time.sleep(0.005)
"""  # memory is sampled, and a busy machine may not get to it at once


@pytest.mark.slow
def test_peak_memory_includes_what_the_block_has_freed_again():
    code = SAMPLED + (  # a process of its own: in one that has freed memory, new memory may be old
        "with methods.Peak(torch.device('cpu')) as peak:\n"
        "    held = torch.ones(50_000_000)\n"
        "    sampled()\n"
        "    del held\n"
        "print(peak.bytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 150e6 < int(done.stdout) < 1e9


@pytest.mark.slow
def test_a_second_block_has_the_same_peak_as_the_first_although_memory_was_freed_in_between():
    code = SAMPLED + (
        "torch.set_num_threads(1)\n"
        "for _ in range(2):\n"
        "    with methods.Peak(torch.device('cpu')) as peak:\n"
        "        held = [torch.ones(20_000) for _ in range(2000)]\n"  # small enough for the C library to keep
        "        sampled()\n"
        "        del held\n"
        "    print(peak.bytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert all(120e6 < int(line) < 400e6 for line in done.stdout.split()), done.stdout


def test_names_of_checkpoints_are_as_short_as_they_can_be_and_unique():
    assert short_names(["x/a.pth", "y/b.pth"]) == ["a", "b"]
    assert short_names(["x/a.pth", "y/a.pth"]) == ["x/a", "y/a"]
    with pytest.raises(ValueError, match="twice"):
        short_names(["x/a.pth", "x/a.pth"])


def test_without_opencv_its_baselines_are_left_out_with_a_note(monkeypatch):
    monkeypatch.setattr(methods, "HAS_CV2", False)
    found, notes = choose_baselines(["all"])
    assert {m.name for m in found} == set(methods.BASELINES) - {"telea", "navier-stokes"}
    assert len(notes) == 1 and "EXTRAS=baselines" in notes[0]
    assert choose_baselines(["replicate"])[1] == [] and choose_baselines(["none"])[0] == []


def test_the_untrained_network_has_the_size_of_the_trained(tmp_path):
    save_network(tmp_path / "a.pth", LightVideoInpaint(base_dim=128, lv2_mlp_ratio=2))
    trained, _, untrained = load_methods([tmp_path / "a.pth"], torch.device("cpu"), 0)
    assert trained.parameters == untrained.parameters > 0


def test_the_untrained_network_has_the_same_psnr_in_bf16_as_in_fp32(monkeypatch):
    monkeypatch.setattr(network_fill, "has_bf16", lambda device: True)  # some processors emulate it
    frames = torch.nn.functional.interpolate(torch.rand(12, 3, 12, 12), (96, 96), mode="bicubic").clamp(0, 1)
    holes = torch.rand(12, 1, 12, 12).gt(0.9).repeat_interleave(8, -1).repeat_interleave(8, -2)
    (untrained,) = load_methods([], torch.device("cpu"), 0)
    assert untrained.fill.half
    truth = Truth.of(trim(frames), trim(holes))
    half, full = (
        measure(dataclasses.replace(untrained.fill, half=half).measured(frames.masked_fill(holes, 0), holes), truth)
        for half in (True, False)
    )
    assert half["hole_psnr"] != full["hole_psnr"]
    assert half["hole_psnr"] == pytest.approx(full["hole_psnr"], abs=0.001)
    assert half["psnr"] == pytest.approx(full["psnr"], abs=0.001)


def test_in_brief_there_are_the_checkpoints_alone(tmp_path):
    save_network(tmp_path / "a.pth", tiny_network())
    found = load_methods([tmp_path / "a.pth", "base"], torch.device("cpu"), 0, brief=True)
    assert [(m.name, m.kind) for m in found] == [("a", "network"), ("base", "network")]
