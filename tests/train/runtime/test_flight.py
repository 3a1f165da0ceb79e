"""What torch's flight recorder leaves of a process; in one of its own, because a process group is for ever."""

import os
import pickle
import subprocess
import sys

import pytest

from tests.support import ROOT
from train.runtime.flight import FlightRecorder

RECORDED = """
import sys
from pathlib import Path
import torch, torch.distributed as dist
from train.runtime.flight import FlightRecorder
recorder = FlightRecorder(Path(sys.argv[1]), rank=0, backend="gloo")
recorder.start()
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
dist.all_reduce(torch.zeros(3))
recorder.write()
"""


@pytest.mark.slow
def test_the_file_lists_the_last_operations_of_the_process(tmp_path):
    subprocess.run([sys.executable, "-c", RECORDED, str(tmp_path)], cwd=ROOT, check=True)
    entries = pickle.loads((tmp_path / "flight_recorder" / "rank_0").read_bytes())["entries"]
    assert [(entry["profiling_name"], entry["input_sizes"]) for entry in entries] == [("gloo:all_reduce", [[3]])]
    assert any(frame["filename"] == "<string>" for frame in entries[0]["frames"])


def test_variables_that_the_user_has_set_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FR_BUFFER_SIZE", "7")
    monkeypatch.setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0")
    monkeypatch.delenv("TORCH_FR_DUMP_TEMP_FILE", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    FlightRecorder(tmp_path, rank=0, backend="cpu:gloo,cuda:nccl").start()
    assert os.environ["TORCH_FR_BUFFER_SIZE"] == "7" and os.environ["TORCH_NCCL_DUMP_ON_TIMEOUT"] == "0"
    assert os.environ["TORCH_FR_DUMP_TEMP_FILE"] == str(tmp_path / "flight_recorder" / "rank_")


def test_a_folder_that_cannot_be_written_leaves_no_file_and_no_error(tmp_path):
    (tmp_path / "flight_recorder").write_text("")
    FlightRecorder(tmp_path, rank=0, backend="gloo").write()
