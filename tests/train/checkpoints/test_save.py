"""A checkpoint is written beside training, and holds what the run was when it was saved."""

import threading

import pytest
import torch

from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.here import run_here
from tests.support.training.trainings import one_thread  # noqa: F401
from tools.cli import UserError
from train.checkpoints import save as module
from train.checkpoints.save import checkpoint_payload, copied
from train.run import save
from train.step import step


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("save") / "data", records=4, evaluation=1, size=72)


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """A run with mining and a moving average, after one step."""
    with run_here(data, tmp_path, monkeypatch, "--ema-model") as run:
        advance(run)
        yield run


def advance(run):
    slots = [(1, index, index % 4) for index in range(run.position.slots_done, 4)]
    assert step(run, run.data.stream.samples(slots))


def payload(run):
    whole = checkpoint_payload(run.job, run.learner, run.data, run.position)
    return {name: whole[name] for name in whole if name not in ("updated_at", "train_kwargs")}


def saved(run):
    found = trainings.checkpoint(run.job.folder)
    return {name: found[name] for name in found if name not in ("updated_at", "train_kwargs")}


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def test_a_checkpoint_holds_the_run_as_it_was_saved_however_long_it_is_written(run, monkeypatch):
    before, release, real = trainings.sha256(payload(run)), threading.Event(), module.write_checkpoint
    monkeypatch.setattr(module, "write_checkpoint", lambda *file: release.wait(480) and real(*file))
    save(run, wait=False)
    assert trainings.checkpoint(run.job.folder)["backfill"]["place"]["step"] == 0  # the one of the start
    advance(run)
    after = trainings.sha256(payload(run))
    release.set()
    run.job.finish_writing()
    assert trainings.sha256(saved(run)) == before != after
    save(run)
    assert trainings.sha256(saved(run)) == after


def test_what_is_written_shares_no_memory_with_the_run(run):
    own, copy = payload(run), copied(payload(run))
    assert trainings.sha256(copy) == trainings.sha256(own) and len(tensors(own)) > 100
    assert not {t.untyped_storage().data_ptr() for t in tensors(own) if t.numel()} & {
        t.untyped_storage().data_ptr() for t in tensors(copy) if t.numel()
    }
    assert [type(part) for part in copy.values()] == [type(part) for part in own.values()]


def test_an_error_of_the_disk_stops_the_run_at_the_next_pass_and_is_raised_by_the_last_save(run, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_checkpoint", fail)
    save(run, wait=False)
    run.job.writer.close()
    assert run.job.is_stopping()
    with pytest.raises(UserError, match=r"could not be written to .*No space left on device.*continue with --resume"):
        save(run)
    assert not run.job.is_stopping()
    assert trainings.checkpoint(run.job.folder)["backfill"]["place"]["step"] == 0
