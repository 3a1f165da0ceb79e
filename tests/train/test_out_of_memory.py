"""A GPU without memory is one line that says what to lower, and leaves a snapshot."""

import pickle
from dataclasses import replace

import pytest
import torch

from tests.support.training.trainings import NoStop
from tools.cli import UserError
from train.config import Config
from train.out_of_memory import RECORDED, advice, explain_out_of_memory
from train.runtime.dist import Group
from train.runtime.job import Job, Passes

GIB = 2**30
ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 80 GiB")
SNAPSHOT = {"segments": [], "device_traces": []}


@pytest.fixture
def job(tmp_path):
    return Job(Config(backward_step=8), Group(0, 1, torch.device("cuda", 0)), NoStop(), tmp_path, Passes((4, 4), 2, 2))


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A GPU of 80 GiB of which 1 is free, and this process has 60; the recordings that are started and stopped."""
    recordings = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 60 * GIB)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: int(58.25 * GIB))
    monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda: SNAPSHOT)
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", lambda on, **_: recordings.append(on))
    return recordings


def line_of(job, **options):
    with pytest.raises(UserError) as raised, explain_out_of_memory(job, **options):
        raise ERROR
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_line_names_the_sizes_what_the_gpu_held_and_what_to_lower(job):
    assert line_of(job).startswith(
        "cuda:0 is out of memory with --batch-size 4 and --tile 256: peak 58.2 of 80.0 GiB, 2.50 GiB more were needed, "
        "other processes use 19.0 GiB: pass --batch-size 3, or --checkpoint-blocks, or a --tile below 256 in a new "
        "run, and --resume to continue; "
    )


def test_other_processes_are_named_only_when_they_use_much(job, monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 78 * GIB)
    assert "other processes" not in line_of(job)


def test_a_snapshot_for_the_viewer_of_pytorch_is_left(job):
    path = job.folder / "out_of_memory.0.pickle"
    assert f"{path} is a memory snapshot for pytorch.org/memory_viz" in line_of(job)
    assert pickle.loads(path.read_bytes()) == SNAPSHOT
    assert list(job.folder.iterdir()) == [path]


def test_a_dry_run_writes_no_snapshot_and_records_nothing(job, gpu):
    assert "snapshot" not in line_of(job, writes=False)
    assert list(job.folder.iterdir()) == [] and "all" not in gpu


def test_a_snapshot_that_cannot_be_written_does_not_hide_the_error(job):
    assert "snapshot" not in line_of(replace(job, folder=job.folder / "missing"))


def test_allocations_are_recorded_in_the_first_steps_alone(job, gpu):
    with explain_out_of_memory(job) as after_step:
        for _ in range(RECORDED):
            assert gpu == ["all"]
            after_step()
        assert gpu == ["all", None]
        after_step()
    assert gpu == ["all", None, None]


def test_on_a_cpu_nothing_is_recorded(job, gpu):
    with explain_out_of_memory(replace(job, group=Group(0, 1, torch.device("cpu")))):
        pass
    assert gpu == []


def test_other_errors_stay_what_they_are(job):
    with pytest.raises(RuntimeError, match="a bug"), explain_out_of_memory(job):
        raise RuntimeError("a bug")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("flags", [{}, {"checkpoint_blocks": True}, {"disable_amp": True}, {"tile": 64}])
def test_the_batch_size_that_is_advised_is_smaller_and_divides_the_share_of_a_process(job, batch_size, flags):
    job = replace(job, config=Config(backward_step=24, **flags), passes=Passes((batch_size,), 1, 1))
    job = replace(job, group=Group(0, 2, job.group.device))
    advised = " ".join(advice(job))
    assert ("--batch-size" in advised) == (batch_size > 1)
    if batch_size > 1:
        size = int(advised.split()[1])
        assert size < batch_size and 12 % size == 0
    assert ("--checkpoint-blocks" in advised) != ("checkpoint_blocks" in flags)
    assert ("--disable-amp" in advised) == ("disable_amp" in flags)
    assert ("--tile" in advised) != ("tile" in flags)
