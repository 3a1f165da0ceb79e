import os
import random
import shutil
import sys

import pytest

from pack.shards.shard import list_shards, read_record
from tests.support.programs import refused, succeeds
from tests.tools.test_verify import write_records, write_shard
from tools import split
from tools.cli.files import locked_folder
from tools.copying import moving
from tools.inspection.shard_checks import check_splits
from tools.split import main

CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir"}  # what Python reports before it changes a folder


def write_split(data, videos=3, shards=2, records=3):
    """A train split: of each video some shards of some records."""
    keys = iter(range(1, 999))
    for video in range(videos):
        for shard in range(shards):
            names = [f"p_Motion_{video:08x}_{next(keys)}_0" for _ in range(records)]
            write_shard(data / "train" / f"video{video}-{shard:05d}.tar", names)
    return data


def keys(folder):
    """Keys of a split, each of which was read and checked against its crc."""
    shards = list_shards(folder) if any(folder.glob("*.json")) else []
    return [entry.key for shard in shards for entry in shard.records if read_record(shard, entry)]


def contents(data):
    """Every file of train/ and eval/, and its bytes."""
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


def whole(data):
    return [fault for report in check_splits([data / "train", data / "eval"], workers=1) for fault in report.faults]


def changes(event, arguments):
    """Whether this audit event changes files."""
    return event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_WRONLY)


def run_killed(words, at):
    """Run the program in a child that ends, as by kill -9, before its change `at` of the files; says if it ended so."""
    child = os.fork()
    if not child:
        left = at

        def kill(event, arguments):
            nonlocal left
            if changes(event, arguments):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(kill)
        os.fsync = lambda _: None  # what is written outlives the process without it, and it takes most of the time
        sys.stdout = sys.stderr = open(os.devnull, "a")
        sys.argv = ["split", *words]
        main()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def test_the_chosen_number_moves_and_every_record_is_kept_once(tmp_path):
    data = write_split(tmp_path)
    before = keys(data / "train")
    succeeds(main, "-i", data, "--num-samples", 5)
    assert len(keys(data / "eval")) == 5
    assert sorted(keys(data / "train") + keys(data / "eval")) == sorted(before)
    assert whole(data) == []


def test_shards_that_lose_no_record_and_order_of_the_others_stay(tmp_path):
    data = write_split(tmp_path)
    before = {shard.name: shard for shard in list_shards(data / "train")}
    succeeds(main, "-i", data, "--num-samples", 1)
    after = {shard.name: shard for shard in list_shards(data / "train")}
    assert before.keys() == after.keys()
    assert sum(before[name] == after[name] for name in before) == 5
    for name, shard in after.items():
        left = {entry.key for entry in shard.records}
        assert [e.key for e in shard.records] == [e.key for e in before[name].records if e.key in left]
        assert (shard.source, shard.config) == (before[name].source, before[name].config)


def test_the_seed_alone_chooses(tmp_path):
    chosen = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        data = write_split(tmp_path / name)
        succeeds(main, "-i", data, "--num-samples", 5, "--seed", seed)
        chosen.append(keys(data / "eval"))
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("words", [(), ("--seed", "3")])
def test_the_same_command_again_moves_nothing(tmp_path, words):
    data = write_split(tmp_path)
    succeeds(main, "-i", data, "--num-samples", 5)
    before = contents(data)
    assert "5 records moved earlier, 0 now" in succeeds(main, "-i", data, "--num-samples", 5, *words)
    assert contents(data) == before


def test_a_larger_number_adds_to_what_was_moved_as_if_it_had_been_given_at_once(tmp_path):
    data, at_once = write_split(tmp_path / "a"), write_split(tmp_path / "b")
    succeeds(main, "-i", data, "--num-samples", 3)
    succeeds(main, "-i", data, "--num-samples", 9)
    succeeds(main, "-i", at_once, "--num-samples", 9)
    assert set(keys(data / "eval")) == set(keys(at_once / "eval"))
    assert set(keys(data / "train")) == set(keys(at_once / "train"))
    assert whole(data) == []


def test_what_was_in_eval_before_stays_and_does_not_count(tmp_path):
    data = write_split(tmp_path)
    write_shard(data / "eval" / "own.tar", ["own_1_0", "own_2_0"])
    succeeds(main, "-i", data, "--num-samples", 5)
    assert len(keys(data / "eval")) == 7


@pytest.mark.slow
@pytest.mark.parametrize("by", ["record", "video"])
def test_killed_before_any_change_of_a_file_no_record_is_lost_and_the_same_command_finishes(tmp_path, by):
    words = ["-i", str(tmp_path / "data"), "--num-samples", "2", "--by", by]
    source = write_split(tmp_path / "source", videos=2, shards=1)
    everything = sorted(keys(source / "train"))
    shutil.copytree(source, tmp_path / "data")
    assert not run_killed(words, 10**6)
    finished = contents(tmp_path / "data")
    at, rng = 0, random.Random(0)
    while True:
        shutil.rmtree(tmp_path / "data")
        shutil.copytree(source, tmp_path / "data")
        if not run_killed(words, at):
            break
        assert sorted(set(keys(tmp_path / "data" / "train")) | set(keys(tmp_path / "data" / "eval"))) == everything, at
        run_killed(words, rng.randrange(12))  # and the run that was to finish it is killed too
        assert sorted(set(keys(tmp_path / "data" / "train")) | set(keys(tmp_path / "data" / "eval"))) == everything, at
        assert not run_killed(words, 10**6)
        assert contents(tmp_path / "data") == finished, at
        at += 1
    assert at >= 23  # every change of the files of one shard at the least


def test_whole_videos_move_so_that_the_splits_share_none(tmp_path):
    data = write_split(tmp_path, videos=4)
    succeeds(main, "-i", data, "--num-samples", 7, "--by", "video")
    videos = [{split.video_of(key) for key in keys(data / name)} for name in ("train", "eval")]
    assert videos[0].isdisjoint(videos[1]) and len(videos[1]) == 2
    assert len(keys(data / "eval")) == 12
    assert len(list_shards(data / "train")) == 8  # empty ones say that these videos are packed
    assert whole(data) == []


def test_one_video_under_two_prefixes_is_one_video(tmp_path):
    assert split.video_of("a_Any_B_0123abcd_12_0") == split.video_of("0123abcd_7_1") == "0123abcd"
    assert split.video_of("holiday") == "holiday"


def test_moving_everything_or_more_is_one_line_and_moves_nothing(tmp_path):
    data = write_split(tmp_path)
    before = contents(data)
    for words in (("--num-samples", 18), ("--num-samples", 200), ("--num-samples", 13, "--by", "video")):
        assert "has 18 records" in refused(main, "-i", data, *words)
    assert contents(data) == before


def test_two_ways_of_choosing_do_not_mix(tmp_path):
    data = write_split(tmp_path)
    succeeds(main, "-i", data, "--num-samples", 2)
    assert "--by video cannot be combined with it" in refused(main, "-i", data, "--num-samples", 2, "--by", "video")


def test_a_record_of_the_same_key_that_is_another_is_refused(tmp_path):
    data = write_split(tmp_path)
    key = keys(data / "train")[0]
    write_shard(data / "eval" / "own.tar", ["other_1_0"])
    index = data / "eval" / "own.json"
    index.write_text(index.read_text().replace("other_1_0", key))
    assert f"record {key} differs" in refused(main, "-i", data, "--num-samples", 2)


def test_a_damaged_record_stops_the_split_before_its_shard_changes(tmp_path):
    data = write_split(tmp_path, videos=1, shards=1)
    (shard,) = list_shards(data / "train")
    garbled = bytearray(shard.tar.read_bytes())
    garbled[600] ^= 1
    shard.tar.write_bytes(garbled)
    assert f"{shard.tar}: record" in refused(main, "-i", data, "--num-samples", 1)
    assert shard.tar.read_bytes() == garbled and list_shards(data / "train") == [shard]
    assert not any(data.rglob("*.tmp"))


def test_a_file_system_without_hard_links_gives_the_same_result(tmp_path, monkeypatch):
    linked, copied = write_split(tmp_path / "a"), write_split(tmp_path / "b")
    succeeds(main, "-i", linked, "--num-samples", 4)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    succeeds(main, "-i", copied, "--num-samples", 4)
    assert contents(linked) == contents(copied)


def test_no_train_split_is_one_line(tmp_path):
    assert "train: no such folder" in refused(main, "-i", tmp_path)


def copied_by_hand(data):
    """The key of the first record of train/, which eval/ has too, as after a split that was stopped."""
    (shard, *_) = list_shards(data / "train")
    entry = shard.records[0]
    write_records(data / "eval" / "copy.tar", [(entry.key, read_record(shard, entry))])
    return entry.key


def test_a_record_is_dropped_from_train_only_when_its_copy_in_eval_can_be_read(tmp_path):
    data = write_split(tmp_path)
    key = copied_by_hand(data)
    tar = data / "eval" / "copy.tar"
    good = tar.read_bytes()
    tar.write_bytes(good[:700] + b"damaged" + good[707:])  # its index still has the right crc32
    before = contents(data)
    line = refused(main, "-i", data, "--num-samples", 2)
    assert f"{tar}: record {key}" in line and "restore this shard" in line and contents(data) == before
    tar.write_bytes(good)
    succeeds(main, "-i", data, "--num-samples", 2)
    assert key not in keys(data / "train") and key in keys(data / "eval")


def test_a_shard_whose_name_looks_like_ours_replaces_no_other(tmp_path):
    data = write_split(tmp_path)
    write_shard(data / "train" / "video0-00000.kept.tar", ["theirs_1_0"])
    before = set(keys(data / "train"))
    succeeds(main, "-i", data, "--num-samples", 5)
    assert set(keys(data / "train")) | set(keys(data / "eval")) == before
    assert whole(data) == []


def test_a_shard_that_was_made_of_another_one_does_not_replace_it(tmp_path):
    data = write_split(tmp_path)
    mark = {moving.MARK: {"tar": "video0-00000.tar", "sha256": "0" * 64}}
    write_records(data / "train" / "video0-00000.kept.tar", [], mark)
    before = contents(data)
    assert "was made of another video0-00000.tar" in refused(main, "-i", data, "--num-samples", 2)
    assert contents(data) == before


def split_of_another(data, tmp_path):
    """Put a .kept of `data` there that is right in itself, from a split of a copy whose eval/ is elsewhere."""
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    at = 0
    while not any(copy.glob("train/*.kept.json")):
        assert run_killed(["-i", str(copy), "--num-samples", "4"], at)
        at += 1
    for path in copy.glob("train/*.kept.*"):
        shutil.copy(path, data / "train")


def test_a_kept_shard_of_another_split_never_takes_records_away(tmp_path):
    data = write_split(tmp_path / "data")
    everything = set(keys(data / "train"))
    split_of_another(data, tmp_path)
    assert "is neither in it nor in eval/" in refused(main, "-i", data, "--num-samples", 2)
    assert set(keys(data / "train")) == everything
    shutil.copytree(tmp_path / "copy" / "eval", data / "eval")  # as its message advises
    succeeds(main, "-i", data, "--num-samples", 4)
    assert set(keys(data / "train")) | set(keys(data / "eval")) == everything and whole(data) == []


@pytest.mark.parametrize("kind", ["folder", "symbolic", "hard"])
def test_a_shard_of_eval_that_is_a_link_to_one_of_train_is_no_copy_of_it(tmp_path, kind):
    data = write_split(tmp_path)
    if kind == "folder":
        (data / "eval").symlink_to("train")
    else:
        (data / "eval").mkdir()
        for path in sorted((data / "train").glob("video0-*")):
            link = data / "eval" / path.name
            link.symlink_to(path) if kind == "symbolic" else link.hardlink_to(path)
    before = contents(data)
    assert "is the same file as" in refused(main, "-i", data, "--num-samples", 2)
    assert contents(data) == before


@pytest.mark.parametrize("name", ["train", "eval"])
def test_a_split_that_is_a_link_to_the_dataset_folder_is_refused(tmp_path, name):
    data = write_split(tmp_path / "data")
    if name == "train":
        for path in (data / "train").iterdir():
            path.rename(data / path.name)
        (data / "train").rmdir()
    (data / name).symlink_to(".")
    before = contents(data)
    assert f"{data / name}: is {data} itself by a link" in refused(main, "-i", data, "--num-samples", 2)
    assert contents(data) == before


def test_a_folder_of_eval_that_is_a_link_to_nothing_is_refused(tmp_path):
    data = write_split(tmp_path)
    (data / "eval").symlink_to("elsewhere")
    before = contents(data)
    assert "is a link to elsewhere, which is missing" in refused(main, "-i", data, "--num-samples", 2)
    assert contents(data) == before


def test_a_shard_that_another_program_publishes_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    data, checked = write_split(tmp_path), moving.check_content

    def pack_again(shard):
        checked(shard)
        name = shard.name.partition(".")[0]
        if shard.path.parent.name == "train" and not (data / name).exists():
            (data / name).touch()
            write_shard(data / "train" / f"{name}.tar", ["theirs_1_0"])

    monkeypatch.setattr(moving, "check_content", pack_again)
    assert "than there is now" in refused(main, "-i", data, "--num-samples", 4)
    assert "theirs_1_0" in keys(data / "train")


def test_two_splits_at_once_are_refused_before_either_changes_a_file(tmp_path):
    data = write_split(tmp_path)
    before = contents(data)
    with locked_folder(data):
        assert "another split.py" in refused(main, "-i", data, "--num-samples", 2)
    assert contents(data) == before
