import errno
import io
import json
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.checkpoint import write_checkpoint
from pack.shards.exclusion import LIST, leave_out_listed
from pack.shards.record import encode
from pack.shards.shard import ShardWriter, list_shards
from pack.shards.untrusted import CorruptRecord
from tests.pack.shards.test_faults import flip
from tests.support.media import films
from tests.support.shards import make_split, texture_record
from tools.cli import UserError
from tools.inspection import depth_view, gallery
from tools.inspection.depth_view import depth_pictures
from tools.inspection.gallery import Gallery, MissingFrame, Wish
from tools.inspection.hole_areas import THREADS, HoleAreas
from tools.inspection.losses import read_losses
from train.data.mining import History


def until(holds):
    while not holds():
        time.sleep(0.01)


def shown(folder, **options):
    return Gallery(folder, list_shards(folder), folder / LIST, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["/etc", "../model", "a.b", {"a": 1}, ["Motion"], 7, "tests", "x" * 99], ids=repr)
def test_a_record_never_names_the_folder_of_a_depth_model(name):
    record = texture_record(0, 2, 64)
    record.info["model_type"] = name
    with pytest.raises(UserError, match="pass the name or the folder of one with --model-type"):
        depth_pictures(record)


@pytest.mark.parametrize("resolution", [10**9, -4, 0, "x", [1], float("nan"), True], ids=repr)
def test_the_resolution_that_a_record_states_is_checked(resolution, monkeypatch):
    asked = []
    monkeypatch.setattr(depth_view, "keep_model", lambda *words: asked.append(words) or films.Brightness())
    record = texture_record(0, 2, 64)
    record.info.update(model_type="Motion", resolution=resolution)
    depth_pictures(record)
    assert asked[0][:2] == ("Motion", None)


def test_listing_a_packed_record_reads_few_bytes(quick_depth, film, tmp_path, monkeypatch):
    films.pack(tmp_path, "--video", film)
    records = films.records(tmp_path)
    read, read_range = [], gallery.read_range

    def counted(path, offset, length):
        read.append(length)
        return read_range(path, offset, length)

    monkeypatch.setattr(gallery, "read_range", counted)
    monkeypatch.setattr(gallery, "read_record", None)
    one = shown(tmp_path)
    for number, record in enumerate(records):
        half_holes = np.where(record.masks == 128, 0.5, record.masks > 0).mean()
        assert one.hole_area(number) == pytest.approx(half_holes, abs=1e-6) and half_holes > 0
        small = np.asarray(Image.open(io.BytesIO(one.thumbnail(number))), float)
        whole = Image.fromarray(record.frames[0]).resize(small.shape[1::-1], Image.Resampling.BICUBIC)
        assert np.abs(small - np.asarray(whole, float)).mean() < 6
    assert sum(read) < sum(len(encode(record)["00_C.webp"]) + gallery.HEAD for record in records) + 1


def test_hole_areas_that_are_not_in_the_json_are_measured_from_the_masks(tmp_path):
    make_split(tmp_path, records=2, shards=1, size=32)
    record = texture_record(1, size=32)
    assert shown(tmp_path).hole_area(1) == pytest.approx((record.masks / 255).mean())


def test_records_on_screen_are_measured_first_and_no_record_twice():
    let, order = threading.Semaphore(0), []

    def measure(number):
        order.append(number)
        let.acquire()
        if number == 5:
            raise OSError("cannot be read")
        return number / 100

    areas = HoleAreas(measure, 50)
    areas.ask_all()
    until(lambda: len(order) == THREADS)
    areas.ask([40, 5])
    areas.ask([41, 40])  # the page was turned
    for count in (1, 2):  # one after the other, so that they begin in the order in which threads take them
        let.release()
        until(lambda: len(order) == THREADS + count)  # noqa: B023 (called at once)
    let.release(50)
    until(areas.done.all)
    assert sorted(order) == list(range(50)) and order[THREADS : THREADS + 2] == [41, 40]
    assert np.isnan(areas.areas[5]) and areas.areas[7] == 0.07


def test_a_bug_while_measuring_is_logged_and_reported_and_the_other_records_are_measured(caplog):
    def measure(number):
        if number == 1:
            raise KeyError("a bug")
        return 0.5

    areas = HoleAreas(measure, 9)
    areas.ask_all()
    until(areas.done.all)
    assert areas.failed and np.isnan(areas.areas).sum() == 1
    assert "Traceback" in caplog.text and "a bug" in caplog.text


def test_a_record_that_cannot_be_read_is_not_a_failure_of_the_server(caplog):
    def measure(number):
        raise UserError("a broken record") if number else OSError(errno.ENOENT, "an absent one")

    areas = HoleAreas(measure, 2)
    areas.ask_all()
    until(areas.done.all)
    assert not areas.failed and np.isnan(areas.areas).all() and caplog.text == ""


@pytest.mark.parametrize("share", ["0.5", [1], True, -0.1, 1.5])
def test_a_record_with_an_invalid_hole_share_is_bad(tmp_path, share):
    make_split(tmp_path, records=1, shards=1, frames=1, size=16)
    one = shown(tmp_path)
    one.head = lambda _: ({"hole_share": share}, 0, 0)
    with pytest.raises(CorruptRecord, match="test_0_0: its hole_share"):
        one.hole_area(0)


def test_a_frame_that_a_record_does_not_have_is_named(tmp_path):
    make_split(tmp_path, records=1, shards=1, frames=2, size=16)
    for kind in ("frame", "mask", "depth"):
        with pytest.raises(MissingFrame, match="test_0_0 has 2 frames"):
            shown(tmp_path).picture(0, kind, 2)


def test_only_the_listed_records_are_measured_unless_sorted_by_hole_area(tmp_path):
    make_split(tmp_path, records=9, shards=1, frames=1, size=16)
    one = shown(tmp_path)
    one.page(Wish(start=2, count=3))
    until(lambda: one.areas.done.sum() == 3)
    page = one.page(Wish(start=2, count=3))
    assert page["measured"] == page["measurable"] == 3 and all(row["holes"] for row in page["records"])
    page = one.page(Wish(sort="holes", count=3))
    assert page["measurable"] == 9
    until(lambda: one.page(Wish(sort="holes"))["measured"] == 9)


def test_records_with_unknown_values_come_last_in_both_orders(tmp_path):
    make_split(tmp_path, records=4, shards=1, frames=1, size=16)
    losses = np.full((4, 4), np.nan, np.float32)
    losses[:, 1], losses[3, 3] = (0.4, 0.2, 0.2, 0.2), 0.5
    one = shown(tmp_path, losses=losses)
    for descending, numbers in ((False, [1, 3, 0, 2]), (True, [3, 1, 0, 2])):
        page = one.page(Wish("loss", descending))
        assert [row["number"] for row in page["records"]] == numbers
    assert one.row(1, False)["losses"] == pytest.approx([0.4, 0.2, 0.2, 0.2]) and one.row(3, False)["losses"] == [0.5]
    with pytest.raises(ValueError, match="start with --model-dir"):
        shown(tmp_path).page(Wish("loss"))


def test_an_invalid_record_is_one_line_and_the_others_are_measured(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as writer:
        for number in range(3):
            members = encode(texture_record(number, 1, 16), "png")
            if number == 1:
                members["json"] = json.dumps(["no object"]).encode()
            writer.add(f"test_{number}_0", members)
        writer.publish({}, {})
    flip(tmp_path, record=2, at=0.9)  # in its mask
    one = shown(tmp_path)
    one.areas.ask_all()
    until(one.areas.done.all)
    assert np.isnan(one.areas.areas).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="test_1_0: its json cannot be read as a JSON object"):
        one.thumbnail(1)


def test_including_a_record_on_a_read_only_list_is_refused(tmp_path):
    folder = make_split(tmp_path / "split", records=2, shards=1, frames=1, size=16)
    (folder / LIST).write_text("test_0_0\n")
    one = Gallery(folder, list_shards(folder), tmp_path / "mine.txt")
    one.exclude("test_1_0", True)
    assert one.excluded() == {0, 1}
    with pytest.raises(
        ValueError, match=r"test_0_0 is also on .*excluded.txt, which is read-only here: remove it there"
    ):
        one.exclude("test_0_0", False)
    one.exclude("test_1_0", False)
    assert one.excluded() == {0} and (folder / LIST).read_text() == "test_0_0\n"


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        ({"state_dict": {}}, "holds no losses of records, expected a training with --hard-example linear"),
        ({"backfill": {"mining": None}}, "holds no losses of records"),
    ],
)
def test_a_checkpoint_without_losses_is_one_line(saved, line, tmp_path):
    write_checkpoint(tmp_path / "net.checkpoint.pth", saved)
    with pytest.raises(ValueError, match=line):
        read_losses(tmp_path, [])


def test_losses_of_another_split_are_refused(tmp_path):
    shards = list_shards(make_split(tmp_path / "split", records=2, shards=1, frames=1, size=16))
    other = replace(shards[0], sha256="0" * 64)
    save_training(tmp_path, shards[0])
    assert read_losses(tmp_path, shards)[-1].tolist() == pytest.approx([0.25, 0.75])
    with pytest.raises(ValueError, match="pass the split that it was trained on"):
        read_losses(tmp_path, [other])


def save_training(folder, shard):
    """One of a training that has seen the first record, and in the epoch that was running the second."""
    history = History(2)
    history.update([0], [0.25])
    data = {"shards": [[shard.name, shard.sha256, 2]]}
    ours = {"mining": history.state_dict(), "place": {"losses": [(1, 0.75)]}, "data": data}
    write_checkpoint(folder / "net.checkpoint.pth", {"backfill": ours})


def test_records_of_one_key_are_excluded_together_as_in_training(tmp_path):
    make_split(tmp_path, records=4, shards=2, frames=1, size=32)
    for name in ("a", "z"):
        shutil.copy(tmp_path / "s0-01.tar", tmp_path / f"{name}.tar")
        index = (tmp_path / "s0-01.json").read_text()
        (tmp_path / f"{name}.json").write_text(index.replace("s0-01.tar", f"{name}.tar"))
    shown_here = shown(tmp_path)
    shown_here.exclude("test_1_0", True)
    rows = shown_here.page(Wish())["records"]
    assert [row["key"] for row in rows if row["excluded"]] == ["test_1_0"] * 3
    used, _ = leave_out_listed(tmp_path, list_shards(tmp_path))
    assert sorted(e.key for s in used for e in s.records) == sorted(row["key"] for row in rows if not row["excluded"])
