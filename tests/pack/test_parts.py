"""The state of a video that a split already holds."""

import json

import pytest

from pack.config import BEFORE, Config
from pack.parts import PartWriter, State, part_path, read_state
from pack.shards.index import index_path
from tools.cli import UserError

SOURCE, SETTINGS = {"video": "a.mp4"}, {"max_shard_bytes": 1}


@pytest.fixture
def split(tmp_path):
    """Two parts: clips 0 and 1, and clip 2."""
    with PartWriter(tmp_path, "a", SOURCE, SETTINGS, State((), ())) as writer:
        writer.add(0, [("k0", {"json": b"{}"})])
        writer.add(2, [("k2", {"json": b"{}"})])
        writer.finish(3)
    return tmp_path


def test_parts_say_where_packing_goes_on(split):
    state = read_state(split, "a", SOURCE, SETTINGS)
    assert (len(state.parts), state.records, state.next_clip, state.done) == (2, 2, 3, True)


@pytest.mark.parametrize(
    "damage",
    [{"next_clip": "3"}, {"next_clip": -1}, {"next_clip": None}, {"last": 1}, {"last": None}, {"first_clip": 7}],
    ids=str,
)
def test_a_part_whose_clips_are_not_numbers_in_order_is_one_line(split, damage):
    path = index_path(part_path(split, "a", 1))
    index = json.loads(path.read_text())
    index["source"] |= damage
    path.write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"a-00001\.json is damaged \(clips") as error:
        read_state(split, "a", SOURCE, SETTINGS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, then", BEFORE.items())
def test_a_setting_that_an_index_lacks_had_the_value_of_packing_before_it(split, name, then):
    assert read_state(split, "a", SOURCE, SETTINGS | {name: then}).differences == ()
    (difference,) = read_state(split, "a", SOURCE, SETTINGS | {name: "another"}).differences
    assert str(difference) == f'{name} is "another", was {json.dumps(then)}'


@pytest.mark.parametrize("now, same", [(0.0, True), (1.0, False)])
def test_a_number_is_the_same_setting_with_and_without_a_point(tmp_path, now, same):
    with PartWriter(tmp_path, "a", SOURCE, {"divergence": 0}, State((), ())) as writer:
        writer.finish(0)
    assert (read_state(tmp_path, "a", SOURCE, {"divergence": now}).differences == ()) == same


def test_settings_as_before_are_stored_as_before():
    """So that an index says the same, whether it is older than the setting or not."""
    stored = Config(("a.mp4",), deinterlace="off").settings()
    assert not stored.keys() & BEFORE.keys()
    assert Config(("a.mp4",)).settings() == stored | {"deinterlace": "auto"}
