import os
import random
from dataclasses import asdict

import numpy as np
import pytest
import torch

from model.checkpoint import read_file, write_checkpoint
from pack.shards.exclusion import leave_out
from pack.shards.shard import list_shards
from tests.support.shards import make_data, make_split
from tests.support.training import trainings
from train.checkpoints import state as module
from train.checkpoints.resume import moved_history
from train.checkpoints.state import (
    Position,
    as_payload,
    changed,
    checkpoint_path,
    checkpoints,
    describe_data,
    differences,
    moved_records,
    older,
    other_networks,
    read_newest,
    rotate,
    second_name,
    set_aside,
)
from train.config import Config
from train.data.mining import History
from train.data.records import Records

NAME = "net"


def save(folder, number, keep):
    rotate(folder, NAME, keep)
    write_checkpoint(checkpoint_path(folder, NAME), {"number": number})


def kept(folder):
    return [read_file(path)["number"] for path in checkpoints(folder, NAME)]


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_the_newest_checkpoints_are_kept_as_many_as_asked_for(keep, tmp_path):
    for number in range(6):
        save(tmp_path, number, keep)
    assert kept(tmp_path) == list(range(5, 5 - keep, -1))
    assert len(list(tmp_path.iterdir())) == keep


def test_fewer_are_kept_when_fewer_are_asked_for(tmp_path):
    for number in range(5):
        save(tmp_path, number, keep=4)
    save(tmp_path, 5, keep=2)
    assert kept(tmp_path) == [5, 4]


def test_rotation_works_on_file_systems_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in range(3):
        save(tmp_path, number, keep=2)
    assert kept(tmp_path) == [2, 1]


@pytest.mark.parametrize("call", range(1, 8))
def test_wherever_saving_breaks_off_the_newest_or_the_one_before_can_be_read(call, tmp_path, monkeypatch):
    for number in range(3):
        save(tmp_path, number, keep=3)
    left = call

    def breaking(function):
        def broken(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                raise InterruptedError
            return function(*arguments, **options)

        return broken

    for name in ("replace", "link", "fsync", "open", "unlink"):
        monkeypatch.setattr(os, name, breaking(getattr(os, name)))
    try:
        save(tmp_path, 3, keep=3)
        finished = True
    except InterruptedError:
        finished = False
    monkeypatch.undo()
    assert kept(tmp_path)[0] in ((3,) if finished else (2, 3))
    assert 2 in kept(tmp_path)


def test_what_an_interrupted_save_left_behind_never_changes_another_checkpoint(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "old", tmp_path / "second.tmp")
    second_name(tmp_path / "new", tmp_path / "second")
    assert [(tmp_path / name).read_text() for name in ("new", "old", "second")] == ["new", "old", "new"]
    assert (tmp_path / "second").samefile(tmp_path / "new")


def test_a_new_epoch_counts_from_nought_and_keeps_what_is_of_the_whole_run():
    whole = {"step": 9, "best": 0.5, "passed": ["a"], "evaluated": 0.25, "digest": "d", "rows": [[1, 0.5]]}
    position = Position("now", 7, epoch=3, slots_done=8, sums={"l1": 1}, counted=2, skipped=1, losses=[(1, 2)], **whole)
    position.next_epoch()
    assert position == Position("now", 7, epoch=4, **whole)
    assert Position("now", 7) == Position("now", 7, 1, 0, 0, None, {}, [], None, "", {}, 0, 0, [], [])


def damage_by_cut(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def damage_by_flip(path, rng):
    data = bytearray(path.read_bytes())
    start = data.index(b"\x80\x02}")  # the pickled dict, whose bytes all matter
    data[start + rng.randrange(20)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def damage_by_emptying(path, _):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_by_cut, damage_by_flip, damage_by_emptying])
def test_when_the_newest_does_not_read_the_one_before_is_used_and_never_written_over_by_it(damage, tmp_path):
    rng = random.Random(0)
    for turn in range(10):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for number in range(3):
            save(folder, number, keep=2)
        damage(checkpoint_path(folder, NAME), rng)
        saved, warnings = read_newest(folder, NAME)
        assert saved == {"number": 1}
        assert len(warnings) == 1 and "resuming from net.checkpoint.1.pth, which is older" in warnings[0]
        rotate(folder, NAME, keep=2)  # what a save begins with: a kill here must leave a good one
        assert kept(folder) == [1]
        assert (folder / "net.checkpoint.pth.unreadable").exists()


def test_when_none_reads_the_run_says_so_and_touches_nothing(tmp_path):
    for number in range(2):
        save(tmp_path, number, keep=2)
    for path in checkpoints(tmp_path, NAME):
        os.truncate(path, 100)
    with pytest.raises(
        ValueError, match=r"net.checkpoint.pth is not a checkpoint or is truncated.*start a new run without --resume"
    ):
        read_newest(tmp_path, NAME)
    assert len(checkpoints(tmp_path, NAME)) == 2


def test_checkpoints_of_other_networks_are_not_taken(tmp_path):
    save(tmp_path, 0, keep=2)
    write_checkpoint(tmp_path / "net_large.checkpoint.pth", {"number": 7})
    write_checkpoint(tmp_path / "net_large.checkpoint.1.pth", {"number": 8})
    assert kept(tmp_path) == [0]
    assert read_newest(tmp_path, "other") == (None, [])


def test_a_new_run_sets_the_checkpoints_of_the_one_before_aside(tmp_path):
    for number in range(2):
        save(tmp_path, number, keep=2)
    aside = set_aside(tmp_path, NAME, "20260101120000")
    assert kept(tmp_path) == [1]  # until the new run's first one replaces it
    assert [read_file(path)["number"] for path in aside] == [1, 0]


def test_records_that_are_still_there_keep_their_losses_under_their_new_numbers():
    before = [["a", "1", 3], ["b", "2", 2], ["c", "3", 2]]
    now = [["0", "9", 4], ["a", "1", 3], ["c", "3", 2]]
    moved = moved_records(before, now)
    assert moved.tolist() == [4, 5, 6, -1, -1, 7, 8]
    history = History(7)
    history.update([0, 3, 6, 6, 2], [0.5, 0.6, 0.7, 0.9, 0.1])
    later = History(9)
    later.load_state_dict(moved_history(history.state_dict(), moved, 9))
    averages = np.full(9, np.inf)
    averages[[4, 8, 6]] = [0.5, 0.8, 0.1]
    assert np.allclose(later.averages(), averages)


def test_a_shard_of_the_same_name_but_other_bytes_is_another(tmp_path):
    assert moved_records([["a", "1", 2]], [["a", "2", 2]]).tolist() == [-1, -1]


def test_records_that_were_excluded_are_counted_out_before_and_after():
    before = [["a", "1", 3, 1], ["b", "2", 2]]  # of a's four records all but number 1
    now = [["b", "2", 1, 0], ["a", "1", 2, 2, 3]]  # b without its number 0, a without 2 and 3
    assert moved_records(before, now).tolist() == [1, -1, -1, -1, 0]
    assert moved_records(now, before).tolist() == [4, 0, -1]


DATA = {"fingerprint": "old", "shards": [["a", "1", 3, 1], ["b", "2", 2]]}
SAVED = {"train_kwargs": asdict(Config()), "backfill": {"place": {"seed": 7}, "data": DATA}}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"seed": 7}, []),
        ({"seed": 0}, ["--seed: 7 -> 0"]),
        ({"seed": 8, "loss": "l1lpips"}, ["--loss: temporal_l1lpips -> l1lpips", "--seed: 7 -> 8"]),
        ({"arch": "inpaint.light_video_inpaint_v1_small"}, []),
        (
            {"arch": "inpaint.light_video_inpaint_v1_large"},
            ["--arch: inpaint.light_video_inpaint_v1 -> inpaint.light_video_inpaint_v1_large"],
        ),
        ({"backward_step": 8, "learning_rate": 1.0, "accept_data": True}, ["--backward-step: 4 -> 8"]),
    ],
)
def test_a_run_continues_with_the_settings_of_its_steps_alone(change, found):
    assert differences(SAVED, Config(**change), DATA) == found


def test_a_setting_that_an_older_version_lacks_had_its_default():
    saved = SAVED | {
        "train_kwargs": {name: value for name, value in asdict(Config()).items() if name != "holes_as_used"}
    }
    assert differences(saved, Config(), DATA) == []
    assert differences(saved, Config(holes_as_used=0.5), DATA) == ["--holes-as-used: 0.0 -> 0.5"]


def test_other_data_is_described_by_its_sizes_and_needs_consent():
    now = {"fingerprint": "new", "shards": [["a", "1", 4]]}
    assert differences(SAVED, Config(accept_data=True), now) == []
    assert differences(SAVED, Config(), now) == [
        "training data: 2 shards with 5 records (1 excluded) (old) -> 1 shard with 4 records (new), "
        "--accept-data continues with it"
    ]


def test_settings_that_may_change_are_told_and_the_others_are_not():
    config = Config(learning_rate=1.0, warmup_epoch=2, loss="dct", resume=True, model_dir="x", data_dir="y", seed=3)
    assert changed(SAVED, config) == ["learning_rate: 0.0001 -> 1.0", "warmup_epoch: 0 -> 2"]
    older_kwargs = {name: value for name, value in asdict(Config()).items() if name != "warmup_epoch"}
    assert changed({"train_kwargs": older_kwargs}, config) == ["learning_rate: 0.0001 -> 1.0"]


def test_the_other_networks_of_a_folder_are_named(tmp_path):
    for name in ("net", "b", "a"):
        write_checkpoint(tmp_path / f"{name}.checkpoint.pth", {"number": 0})
    write_checkpoint(tmp_path / "c.checkpoint.1.pth", {"number": 0})
    assert other_networks(tmp_path, NAME) == ["a", "b"]


def test_what_a_checkpoint_holds_of_backfill_is_version_1():
    position = Position("now", 7)
    assert as_payload(position, DATA, ema=None) == {
        "version": 1,
        "place": asdict(position),
        "data": DATA,
        "ema": None,
    }


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line_and_leaves_the_checkpoint_as_it_was(tmp_path):
    data = make_data(tmp_path / "data", records=2, evaluation=1, size=64)
    flags = trainings.command(data, tmp_path)
    hook = ["limit files at", "train.checkpoints.save.write_checkpoint", 4, 1_000_000]  # the first is of step 0
    job = trainings.start(tmp_path, *flags, world=2, hooks=[hook])
    assert job.wait() == [2, 2]
    assert "Traceback" not in job.log() and job.log().splitlines()[-1] == (
        f"error: the checkpoint could not be written to {tmp_path} (File too large), the previous one is unchanged: "
        f"free some space and continue with --resume"
    )
    assert trainings.checkpoint(tmp_path)["backfill"]["place"]["step"] == 2
    assert not list(tmp_path.glob("*.tmp"))
    assert "resumed in epoch 2 after 0 sequences" in trainings.train(tmp_path, *flags, "--resume").log()


def test_a_position_survives_the_file(tmp_path):
    position = Position("20260101120000", 7, losses=[(3, 0.25)], rows=[[1, 0.5, None]], sums={"l1": 0.125})
    write_checkpoint(tmp_path / "x", {"place": vars(position)})
    again = Position(**read_file(tmp_path / "x")["place"])
    assert again == position


@pytest.mark.parametrize(
    "shortage", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=repr
)
def test_a_lack_of_memory_sets_no_checkpoint_aside(shortage, tmp_path, monkeypatch):
    for number in range(2):
        save(tmp_path, number, 2)
    before = sorted(tmp_path.iterdir())

    def fail(*_, **__):
        raise shortage

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(shortage)):
        read_newest(tmp_path, NAME)
    assert sorted(tmp_path.iterdir()) == before


def test_the_newest_checkpoint_comes_first_in_whatever_order_a_folder_lists_its_files(tmp_path, monkeypatch):
    for number in range(4):
        save(tmp_path, number, 4)
    ages = older(tmp_path, NAME)
    for order in ((3, 1, 2), (2, 3, 1), (1, 2, 3)):
        monkeypatch.setattr(module, "older", lambda *_, order=order: {age: ages[age] for age in order})
        assert kept(tmp_path) == [3, 2, 1, 0]


def test_the_description_of_a_dataset_names_each_shard_and_what_is_excluded_from_it(tmp_path):
    shards = list_shards(make_split(tmp_path, records=5, shards=2, frames=1, size=32))
    used = [leave_out(shard, frozenset({"test_2_0"})) for shard in shards]
    train, evaluation = Records(used), Records(shards[1:])
    assert describe_data(train, evaluation) == {
        "fingerprint": train.fingerprint(),
        "shards": [["s0-00", shards[0].sha256, 2, 1], ["s0-01", shards[1].sha256, 2]],
        "eval_fingerprint": evaluation.fingerprint(),
    }
    assert describe_data(train, None)["eval_fingerprint"] == ""
