"""The page of a split in a real browser."""

import contextlib
import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from pack.shards.exclusion import LIST, read_keys
from pack.shards.record import decode, encode
from pack.shards.shard import ShardWriter, list_shards, read_record
from tests.pack.shards.test_faults import flip
from tests.support.programs import refused
from tests.support.servers import s3
from tests.support.servers.browser import Viewer, browser, served
from tests.support.shards import make_data, make_split, texture_record
from tests.support.training import trainings
from tools import browse
from train.data.mining import History
from train.data.records import Records

pytestmark = pytest.mark.slow

WIDTHS = {0: 9, 1: 30, 2: 3, 3: 21, 4: 15}  # of the hole in each record, pixels
BY_AREA = ["test_2_0", "test_0_0", "test_4_0", "test_3_0", "test_1_0"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def split(tmp_path):
    """Five records with holes of different widths, of two videos, the later one first."""
    for video, numbers in (("b.mp4", (0, 1, 2)), ("a.mp4", (3, 4))):
        with ShardWriter(tmp_path / "split" / f"{'ba'.index(video[0])}.tar") as writer:
            for number in numbers:
                record = texture_record(number, size=72)
                masks = np.zeros_like(record.masks)
                masks[:, 10:60, 5 : 5 + WIDTHS[number]] = 255
                masks[:, 10:60, 5] = 128
                writer.add(record.key, encode(replace(record, masks=masks), "png"))
            writer.publish({"video": video}, {})
    return tmp_path / "split"


@contextlib.contextmanager
def viewed(driver, *words, env=None, refusals=False):
    """A page in the browser, of a program with these words; nothing may fail on it unless refusals are expected."""
    with served(*words, env=env) as url:
        yield Viewer(driver, url)
        said = driver.get_log("browser")
        driver.get("about:blank")  # or it would go on asking
        driver.get_log("browser")
    assert refusals or said == []


@pytest.fixture
def page(split, driver):
    with viewed(driver, "-i", split) as page:
        yield page


def record_of(split, key):
    return next(
        decode(key, read_record(shard, entry))
        for shard in list_shards(split)
        for entry in shard.records
        if entry.key == key
    )


def test_the_list_shows_every_record_and_the_first_one_is_open(page, split):
    assert page.cards() == [f"test_{number}_0" for number in range(5)]
    assert page.text("key") == "test_0_0"
    assert page.text("counts") == "5 records, 0 excluded"
    assert np.array_equal(page.pixels()[:, 6 + WIDTHS[0] :], record_of(split, "test_0_0").frames[0][:, 6 + WIDTHS[0] :])


def test_holes_are_tinted_where_the_masks_are_and_can_be_switched_off(page, split):
    record = record_of(split, "test_0_0")
    tinted = page.pixels()
    assert np.array_equal((tinted != record.frames[0]).any(-1), record.masks[0] > 0)
    once, twice = tinted[20, 7].astype(int), tinted[20, 5].astype(int)
    assert once[0] - once[1] > 60 and twice[1] - twice[2] > 60  # red, and yellow behind two layers
    page.click("holes")
    assert np.array_equal(page.pixels(), record.frames[0])
    page.press("h")
    assert np.array_equal(page.pixels(), tinted)


def test_playing_shows_one_frame_after_the_other_until_it_is_paused(page, split):
    frames = record_of(split, "test_0_0").frames
    page.press("h")
    page.press(" ")
    page.until(lambda: page.text("time") == "16 / 16")
    page.until(lambda: page.text("time") == "3 / 16")  # it starts again
    page.press(" ")
    stopped = page.text("time")
    shown = int(stopped.partition(" ")[0]) - 1
    assert np.array_equal(page.pixels(), frames[shown]) and not np.array_equal(frames[shown], frames[0])
    page.press(".")
    assert np.array_equal(page.pixels(), frames[shown + 1])
    page.press(",")
    assert np.array_equal(page.pixels(), frames[shown])


def test_depth_replaces_the_image_and_its_source_is_named(page, split):
    page.press("h")
    page.press("d")
    page.until(lambda: page.text("note").startswith("Depth: estimated now with Motion (the record names no model)"))
    depth = page.pixels()
    assert (depth == depth[..., :1]).all() and depth.std() > 5
    page.press("d")
    assert np.array_equal(page.pixels(), record_of(split, "test_0_0").frames[0])


def test_a_depth_model_that_is_not_here_is_one_line_on_the_page(split, driver):
    with viewed(driver, "-i", split, "--model-type", "Any_V3_Mono", refusals=True) as page:
        page.press("d")
        page.until(lambda: page.text("note").startswith("No depth: --model-type Any_V3_Mono is not available"))


def test_records_are_sorted_by_holes_and_by_video_in_both_orders(page):
    page.select("sort", "holes")
    page.until(lambda: page.cards() == BY_AREA)
    assert "2.41 % holes" in page.card("test_2_0").text  # 50 x 2.5 of 72 x 72 pixels: behind two layers counts half
    page.click("direction")
    page.until(lambda: page.cards() == BY_AREA[::-1])
    page.select("sort", "video")
    page.click("direction")
    page.until(lambda: page.cards() == [f"test_{number}_0" for number in (3, 4, 0, 1, 2)])


def test_keys_go_from_record_to_record(page):
    for key, number in (("right", 1), ("right", 2), ("left", 1)):
        page.press(key)
        page.until(lambda number=number: page.text("key") == f"test_{number}_0")
    page.settle()


def test_an_excluded_record_is_on_the_list_and_can_be_included_again(page, split):
    (split / LIST).write_text("# bad ones\ntest_4_0\n")  # by hand, while the page is open
    page.choose("test_1_0")
    page.press("x")
    page.until(lambda: page.text("counts") == "5 records, 2 excluded")
    assert (split / LIST).read_text() == "# bad ones\ntest_4_0\ntest_1_0\n"
    assert page.text("exclude") == "Include" and page.card("test_1_0").get_attribute("class") == "card excluded"
    page.select("show", "excluded")
    page.until(lambda: page.cards() == ["test_1_0", "test_4_0"])
    page.select("show", "used")
    page.until(lambda: page.cards() == ["test_0_0", "test_2_0", "test_3_0"])
    assert page.text("key") == "test_1_0"  # is still open
    page.driver.find_element("css selector", "#message button").click()  # undo
    page.until(lambda: page.text("counts") == "5 records, 1 excluded")
    assert (split / LIST).read_text() == "# bad ones\ntest_4_0\n"
    page.until(lambda: len(page.cards()) == 4)


def test_records_excluded_in_two_tabs_are_both_on_the_list(page, split):
    first, url = page.driver.current_window_handle, page.driver.current_url
    page.driver.switch_to.new_window("tab")
    second = Viewer(page.driver, url)
    second.choose("test_2_0")
    second.press("x")
    second.until(lambda: second.text("counts") == "5 records, 1 excluded")
    page.driver.close()
    page.driver.switch_to.window(first)
    page.choose("test_3_0")
    page.press("x")
    page.until(lambda: page.text("counts") == "5 records, 2 excluded")
    assert read_keys(split / LIST) == {"test_2_0", "test_3_0"}


def test_a_long_split_is_shown_a_page_at_a_time(tmp_path, driver):
    make_split(tmp_path / "long", records=60, shards=2, frames=2, size=16)
    with viewed(driver, "-i", tmp_path / "long") as page:
        first = page.cards()
        assert len(first) == 24 and page.text("place") == "1–24 of 60"
        page.click("forth")
        page.click("forth")
        page.until(lambda: page.text("place") == "49–60 of 60")
        assert len(page.cards()) == 12 and not set(page.cards()) & set(first)
        page.choose(page.cards()[0])
        page.press("left")  # to the page before
        page.until(lambda: page.text("place") == "25–48 of 60")


def test_a_late_answer_never_replaces_a_newer_one(tmp_path, driver):
    make_split(tmp_path / "long", records=60, shards=1, frames=2, size=16)
    with viewed(driver, "-i", tmp_path / "long") as page:
        driver.execute_script(
            "const at_once = window.fetch; let late = 400;"
            "window.fetch = async (...words) => {"
            "  const answer = at_once(...words);"
            "  if (late && words[0].startsWith('records?')) {"
            "    await new Promise((done) => setTimeout(done, late, late = 0)); window.came = true;"
            "  }"
            "  return answer; };"
        )
        page.click("forth")
        page.click("forth")
        page.until(lambda: driver.execute_script("return window.came"))
        assert len(page.cards()) == 12 and page.text("place") == "49–60 of 60"


def test_a_damaged_record_is_one_line_and_the_others_can_be_seen(split, driver):
    flip(split, record=0, at=0.7)
    with viewed(driver, "-i", split, refusals=True) as page:
        assert page.text("fault") == "record test_0_0: crc32 of what was read differs from its index"
        page.choose("test_1_0")
        assert page.text("fault") == "" and page.pixels().std() > 5


def test_records_are_sorted_by_the_losses_of_a_training(tmp_path, driver):
    data = make_data(tmp_path / "data", records=6, evaluation=1, size=72)
    trainings.train(
        tmp_path / "model", *trainings.command(data, tmp_path / "model", "--max-epoch", 1, "--num-samples", 96)
    )
    records = Records(list_shards(data / "train"))
    history = History(len(records))
    history.load_state_dict(trainings.checkpoint(tmp_path / "model")["backfill"]["mining"])
    losses = {records[number][1].key: loss for number, loss in enumerate(history.averages().tolist())}
    seen = sorted((key for key in losses if losses[key] < np.inf), key=losses.get, reverse=True)
    assert len(seen) > 2
    with viewed(driver, "-i", data / "train", "--model-dir", tmp_path / "model") as page:
        page.select("sort", "loss")
        page.click("direction")
        page.until(lambda: page.cards()[: len(seen)] == seen)
        page.until(lambda: f"loss {losses[seen[0]]:.4f}" in page.card(seen[0]).text)


def test_a_remote_split_is_read_by_ranges_and_excluded_in_a_file_of_this_machine(store, s3_server, tmp_path, driver):
    split = make_split(s3_server[0] / "data" / "train", records=30, shards=1)
    length = list_shards(split)[0].records[0].length
    words = ("-i", f"s3://{s3.BUCKET}/data/train", "--exclude", tmp_path / "mine.txt")
    with viewed(driver, *words, env=os.environ) as page:
        page.until(lambda: "holes" in page.text("list"))
        page.press("x")
        page.until(lambda: page.text("counts") == "30 records, 1 excluded")
    assert (tmp_path / "mine.txt").read_text() == "test_0_0\n"
    sizes = [np.diff([int(n) for n in r.range.removeprefix("bytes=").split("-")])[0] + 1 for r in store.tar_reads()]
    assert sizes and max(sizes) <= length


def test_a_remote_split_without_a_file_for_the_list_cannot_be_changed(store, s3_server, driver):
    make_split(s3_server[0] / "data" / "train", records=2, shards=1, size=72)
    with viewed(driver, "-i", f"s3://{s3.BUCKET}/data/train", env=os.environ) as page:
        button = driver.find_element("id", "exclude")
        assert not button.is_enabled() and "--exclude FILE" in button.get_attribute("title")
        assert len(page.cards()) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("-i", "nowhere"), "nowhere: no such folder"),
        (("--port", 70000), "--port 70000: expected 0 to 65535"),
        (("--model-dir", "nowhere"), "nowhere: holds no *.checkpoint.pth"),
    ],
)
def test_a_mistake_is_one_line(words, line, split):
    assert line in refused(browse.main, "-i", split, *words)


def test_an_empty_split_and_an_invalid_list_are_one_line(tmp_path, split):
    (tmp_path / "empty").mkdir()
    assert "holds no shard" in refused(browse.main, "-i", tmp_path / "empty")
    with ShardWriter(tmp_path / "hollow" / "a.tar") as writer:
        writer.publish({}, {})
    assert "its shards hold no record" in refused(browse.main, "-i", tmp_path / "hollow")
    (split / LIST).write_bytes(b"\xff\xfe\x00")
    assert "excluded.txt: is not UTF-8 text" in refused(browse.main, "-i", split)


def test_a_port_that_is_taken_is_one_line(split):
    with browse.listen(0) as listener:
        port = listener.getsockname()[1]
        assert f"port {port} is in use" in refused(browse.main, "-i", split, "--port", port)


def test_without_the_extra_the_command_that_installs_it_is_named(split, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "tools.inspection.server", raising=False)  # imported by the tests before
    assert "make setup EXTRAS=inspect" in refused(browse.main, "-i", split)
