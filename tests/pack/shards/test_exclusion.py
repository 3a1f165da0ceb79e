import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from pack.shards import exclusion
from pack.shards.exclusion import LIST, change_list, leave_out, leave_out_listed, read_keys
from pack.shards.index import Entry, Index, read_index, write_index
from pack.shards.location import parse_location
from pack.shards.shard import list_shards, read_record
from tests.support import ROOT
from tests.support.programs import refused, succeeds
from tests.support.shards import make_data, make_split
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from tests.tools.test_evaluate import SMALL
from tests.tools.test_split import keys, write_split
from tools import browse, cli, evaluate, folders, split, transfer
from tools.cli import UserError
from tools.inspection import losses
from train import build as setup
from train.checkpoints.state import moved_records
from train.config import Config
from train.data import samples
from train.data.records import Records
from train.loop import train as train_loop
from train.runtime.dist import Group

ENTER = """
import sys, pathlib
from pack.shards.exclusion import change_list
for key in sys.argv[2:]:
    change_list(pathlib.Path(sys.argv[1]), key, True)
"""


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "data", records=6, evaluation=2, size=72)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(setup, "create_network", trainings.create_tiny)


def build(data, folder, *flags):
    config = cli.parse(Config, trainings.command(data, folder, *map(str, flags)))
    return setup.build(config, Group(0, 1, torch.device("cpu")), trainings.NoStop())


def keys_of(run):
    records = run.data.stream.source.records
    return [records[number][1].key for number in range(len(records))]


def drawn(run, epochs=20):
    """The keys of all records that the plan shows, with weights and without."""
    numbers = {int(n) for epoch in range(1, epochs) for n in run.data.plan.records(epoch)}
    return {
        keys_of(run)[number] for number in numbers | set(run.data.plan.records(1, run.data.history.weights()).tolist())
    }


def test_a_list_is_a_text_that_people_can_write(tmp_path):
    path = tmp_path / LIST
    path.write_bytes(b"\xef\xbb\xbf# shaky\r\n  a_1_0 \r\n\r\nb_1_0")
    assert read_keys(path) == {"a_1_0", "b_1_0"}
    change_list(path, "c_1_0", True)
    change_list(path, "c_1_0", True)
    assert path.read_text().split("\n") == ["# shaky", "  a_1_0 ", "", "b_1_0", "c_1_0", ""]
    change_list(path, "a_1_0", False)
    change_list(path, "none", False)
    assert path.read_text() == "# shaky\n\nb_1_0\nc_1_0\n"


def test_a_line_of_a_list_ends_where_an_editor_ends_it(tmp_path):
    path = tmp_path / LIST
    path.write_bytes("# a\x0cb_1_0\x85c_1_0\u2028d_1_0\r\ne_1_0\rf_1_0".encode())
    assert read_keys(path) == {"e_1_0", "f_1_0"}
    change_list(path, "g_1_0", True)
    assert path.read_bytes().decode() == "# a\x0cb_1_0\x85c_1_0\u2028d_1_0\ne_1_0\nf_1_0\ng_1_0\n"
    path.write_bytes(b"")
    change_list(path, "g_1_0", True)
    assert path.read_bytes() == b"g_1_0\n"


def test_keys_of_a_list_that_no_record_has_are_shown_short_and_on_one_line(data):
    (data / "train" / LIST).write_text("a\x1b[2J\n" + "b" * 10**6 + "\n")
    (line,) = leave_out_listed(data / "train", list_shards(data / "train"))[1]
    assert "these 2 keys: 'a\\x1b[2J', " in line and len(line) < 300


@pytest.mark.parametrize(
    ("name", "words"),
    {
        "none/list.txt": "there is no folder",
        "train/s0-00.json": "is not a list of records",
        "notes.txt": "is not a list of records",
    }.items(),
)
def test_the_page_changes_no_file_that_is_not_a_list(data, name, words):
    (data / "notes.txt").write_text("see ../other\n")
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=words):
        browse.open_gallery(browse.Config(str(data / "train"), exclude=str(data / name)))
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_a_list_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    change_list(tmp_path / LIST, "a", True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pack.shards.shard.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        change_list(tmp_path / LIST, "b", True)
    assert [path.name for path in tmp_path.iterdir()] == [LIST] and read_keys(tmp_path / LIST) == {"a"}


def test_programs_that_change_a_list_at_the_same_time_lose_no_entry_of_each_other(tmp_path):
    path = tmp_path / LIST
    names = [[f"{who}_{number}" for number in range(100)] for who in "abc"]
    programs = [subprocess.Popen([sys.executable, "-c", ENTER, path, *keys], cwd=ROOT) for keys in names]
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert read_keys(path) == {key for keys in names for key in keys}


def test_what_is_left_out_of_a_shard_never_comes_into_its_index(data):
    shard = leave_out(list_shards(data / "train")[0], frozenset({"test_2_0"}))
    assert shard.left_out == {1: "test_2_0"}
    write_index(shard)
    assert "left_out" not in shard.tar.with_suffix(".json").read_text()
    assert read_index(shard.tar.with_suffix(".json")).left_out == {}


@pytest.mark.slow
def test_training_never_draws_an_excluded_record_and_says_how_many_there_are(data, tmp_path, capsys, monkeypatch):
    read = set()
    monkeypatch.setattr(samples, "read_record", lambda shard, entry: read.add(entry.key) or read_record(shard, entry))
    (data / "train" / LIST).write_text("test_2_0\ntest_3_0\n")
    (data / "eval" / LIST).write_text("test_1000_0\n")
    run = build(data, tmp_path / "model")
    assert drawn(run) == {"test_0_0", "test_1_0", "test_4_0", "test_5_0"}
    assert [run.data.eval_samples.records[n][1].key for n in range(len(run.data.eval_samples.records))] == [
        "test_1001_0"
    ]
    said = capsys.readouterr().out
    assert f"{data / 'train'}: 2 of 6 records are excluded" in said
    assert f"{data / 'eval'}: 1 of 2 records is excluded" in said
    assert "4 records, 1 for evaluation" in said
    assert train_loop(run)
    run.curves.close()
    assert read == {"test_0_0", "test_1_0", "test_4_0", "test_5_0", "test_1001_0"}


def test_a_separate_list_applies_to_both_splits_and_unknown_keys_are_reported(data, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("test_0_0\ntest_1001_0\nno_such_1_0\n")
    (data / "train" / LIST).write_text("gone_1_0\ngone_2_0\ngone_3_0\ngone_4_0\n")
    run = build(data, tmp_path / "model", "--exclude", tmp_path / "mine.txt")
    assert "test_0_0" not in drawn(run) and run.data.plan.count == 5 and len(run.data.eval_samples.records) == 1
    said = capsys.readouterr().out
    assert f"warning: {tmp_path / 'mine.txt'}: no record has this key: no_such_1_0" in said
    assert "excluded.txt: no record has these 4 keys: gone_1_0, gone_2_0, gone_3_0, ...\n" in said
    with pytest.raises(FileNotFoundError, match=r"none.txt"):
        build(data, tmp_path / "other", "--exclude", tmp_path / "none.txt")


def test_a_split_whose_records_are_all_excluded_is_reported(data, tmp_path):
    (data / "eval" / LIST).write_text("test_1000_0\ntest_1001_0\n")
    with pytest.raises(ValueError, match="eval: its shards hold only excluded records: include some again"):
        build(data, tmp_path / "model")


def test_an_exclusion_is_another_dataset_which_one_flag_accepts_and_mining_keeps_its_losses(data, tmp_path):
    run = build(data, tmp_path / "model", "--max-epoch", 1, "--num-samples", 144)
    assert train_loop(run)
    run.curves.close()
    before = dict(zip(keys_of(run), run.data.history.averages().tolist(), strict=True))
    assert sum(np.isfinite(loss) for loss in before.values()) > 3
    flags = ("--max-epoch", 3, "--num-samples", 144, "--resume")
    (data / "train" / LIST).write_text("test_2_0\n")
    expected = r"2 shards with 6 records \(\w+\) -> 2 shards with 5 records \(1 excluded\) \(\w+\), --accept-data"
    with pytest.raises(ValueError, match=expected):
        build(data, tmp_path / "model", *flags)
    later = build(data, tmp_path / "model", *flags, "--accept-data")
    assert keys_of(later) == [key for key in before if key != "test_2_0"]
    assert later.data.history.averages().tolist() == [before[key] for key in keys_of(later)]
    known = losses.read_losses(tmp_path / "model", list_shards(data / "train"))
    means = dict(zip(before, np.nanmean(known, axis=0).tolist(), strict=True))
    assert means == pytest.approx(before, nan_ok=True)


def test_records_keep_their_numbers_apart_whatever_is_excluded_before_and_after():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(0, 6, 4)
        names = [[(shard, place) for place in range(size)] for shard, size in enumerate(sizes)]
        sides = []
        for _ in range(2):
            out = [sorted(rng.permutation(size)[: rng.integers(0, size + 1)].tolist()) for size in sizes]
            order = rng.permutation(4)[: rng.integers(1, 5)]
            rows = [[f"s{s}", "", int(sizes[s]) - len(out[s]), *out[s]] for s in order]
            used = [name for s in order for name in names[s] if name[1] not in out[s]]
            sides.append((rows, used))
        (before, old), (now, new) = sides
        expected = [new.index(name) if name in new else -1 for name in old]
        assert moved_records(before, now).tolist() == expected


def test_a_dataset_with_nothing_excluded_has_the_fingerprint_that_it_always_had(data):
    shards = list_shards(data / "train")
    plain = Records(shards).fingerprint()
    assert Records(leave_out_listed(data / "train", shards)[0]).fingerprint() == plain
    others = [
        Records([leave_out(s, frozenset({key})) for s in shards]).fingerprint() for key in ("test_0_0", "test_1_0")
    ]
    assert len({plain, *others}) == 3


def test_evaluation_leaves_excluded_records_out_and_its_report_says_so(tmp_path):
    folder = make_split(tmp_path / "eval", records=4)
    (folder / LIST).write_text("test_1_0\n")
    (tmp_path / "mine.txt").write_text("test_2_0\nx\n")
    words = ("--exclude", tmp_path / "mine.txt", "--baselines", "replicate", *SMALL)
    out = succeeds(evaluate.main, "-i", folder, "-o", tmp_path / "out", *words)
    assert f"{folder}: 2 of 4 records are excluded" in out and "mine.txt: no record has this key: x" in out
    clips = json.loads((tmp_path / "out" / "metrics.json").read_text())["clips"]
    assert [clip["key"] for clip in clips] == ["test_0_0", "test_3_0"]


def test_push_and_pull_carry_the_list_and_lose_no_entry_of_either_side(data, tmp_path):
    (data / "train" / LIST).write_text("# mine\ntest_1_0\n")
    out = succeeds(transfer.main, "-i", data, "-o", "memory://exclusion/data")
    assert "memory://exclusion/data: 1 more record is excluded" in out
    there = parse_location("memory://exclusion/data/train")
    assert read_keys(there / LIST) == {"test_1_0"}
    assert leave_out_listed(there, list_shards(data / "train"))[0][0].left_out == {}
    (data / "train" / LIST).write_text("# other\ntest_2_0\n")
    succeeds(transfer.main, "-i", "memory://exclusion/data", "-o", data)
    assert (data / "train" / LIST).read_text() == "# other\ntest_2_0\ntest_1_0\n"
    assert "excluded" not in succeeds(transfer.main, "-i", "memory://exclusion/data", "-o", data)


def test_excluded_records_are_not_moved_to_the_other_split(tmp_path):
    write_split(tmp_path)
    bad = keys(tmp_path / "train")[::2]
    (tmp_path / "train" / LIST).write_text("\n".join(bad))
    succeeds(split.main, "-i", tmp_path, "--num-samples", 8)
    assert len(keys(tmp_path / "eval")) == 8 and not set(keys(tmp_path / "eval")) & set(bad)
    assert set(bad) <= set(keys(tmp_path / "train"))
    assert "has 1 record," in refused(split.main, "-i", tmp_path, "--num-samples", 9)


def test_folders_for_iw3_hold_no_excluded_record(data, tmp_path):
    (data / "train" / LIST).write_text("test_4_0\n")
    out = succeeds(folders.main, "--from-shards", data / "train", "-o", tmp_path / "out")
    assert "1 of 6 records is excluded" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"test_{n}_0" for n in (0, 1, 2, 3, 5)]


def test_a_list_is_read_once_and_united_once_for_all_shards(tmp_path, monkeypatch):
    """So that a million keys and 20,000 shards start within seconds."""
    (tmp_path / LIST).write_text("\n".join(f"key_{number}_0" for number in range(1_000_000)))
    shards = [
        Index(
            tmp_path / f"{number}.tar", 10, "0" * 64, (Entry(f"key_{number}_0", 0, 1, 0), Entry("k", 1, 1, 0)), {}, {}
        )
        for number in range(20_000)
    ]
    reads = []
    monkeypatch.setattr(exclusion, "read_keys", lambda path: reads.append(path) or read_keys(path))
    used, lines = leave_out_listed(tmp_path, shards, frozenset({"other"}))
    assert len(reads) == 1 and all([entry.key for entry in shard.records] == ["k"] for shard in used)
    assert lines[0] == f"{tmp_path}: 20000 of 40000 records are excluded"
    assert "no record has these 980000 keys" in lines[1]
