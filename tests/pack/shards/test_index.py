"""What an index may say, and what is refused before anything else uses it."""

import json
from pathlib import Path

import pytest

from pack.shards.index import LARGEST_INDEX, parse_index, read_index
from pack.shards.untrusted import DEEPEST_JSON, LONGEST_KEY, parse_object
from tests.support.hostile.fuzzing import INDEX
from tools.cli import UserError


def parsed(record=None, **fields):
    """The index of tests.support.hostile.fuzzing with other fields, and other fields of its second record."""
    index = json.loads(json.dumps(INDEX)) | fields
    index["records"][1] |= record or {}
    return parse_index(json.dumps(index).encode(), Path("a.json"))


def nested(depth):
    return {"a": nested(depth - 1)} if depth else {}


def test_a_plain_index_is_read():
    assert [entry.key for entry in parsed().records] == ["k_0_0", "k_1_0"]
    assert parsed({"key": "x" * LONGEST_KEY, "length": 3072}, source=nested(DEEPEST_JSON - 2)).bytes == 4096


@pytest.mark.parametrize("sha256", ["../../victim", "", "0" * 63, "0" * 65, "G" * 64, "0" * 63 + "\n", 7, None])
def test_a_sha256_that_is_not_64_hexadecimal_digits_is_refused(sha256):
    with pytest.raises(UserError, match=r"a\.json: is not the index of a shard \(its sha256 is"):
        parsed(sha256=sha256)


@pytest.mark.parametrize(
    "key", ["", "../x", "a/b", "a\\b", "a.b", "a\nb", "a\0b", "#a", " a", "a ", "\ufeffa", "a\u2028b"]
)
def test_a_key_that_is_a_path_or_more_than_one_plain_line_is_refused(key):
    with pytest.raises(UserError, match="the key"):
        parsed({"key": key})


def test_a_key_too_long_for_a_tar_is_refused_and_quoted_in_part():
    with pytest.raises(UserError, match="has 100000 bytes, expected 89 or fewer") as refusal:
        parsed({"key": "x" * 100_000})
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "record",
    [
        {"offset": -1},
        {"offset": 1024.0},
        {"offset": True},
        {"offset": "1024"},
        {"length": 3073},
        {"length": 10**30},
        {"crc32": 1 << 32},
        {"crc32": None},
        {"more": 1},
    ],
)
def test_a_record_outside_its_tar_or_of_other_types_is_refused(record):
    with pytest.raises(UserError, match="record"):
        parsed(record)


@pytest.mark.parametrize("offset", [0, 512, 1023])
def test_records_that_share_bytes_are_refused(offset):
    with pytest.raises(UserError, match=r"the ranges of records k_\d_0 and k_\d_0 overlap"):
        parsed({"offset": offset})


def test_two_records_of_one_key_are_refused():
    with pytest.raises(UserError, match="two records are called k_0_0"):
        parsed({"key": "k_0_0"})


@pytest.mark.parametrize("field", ["bytes", "sha256", "records", "source", "config", "tar", "version"])
def test_a_missing_field_and_one_of_another_type_are_named(field):
    for index in ({k: v for k, v in INDEX.items() if k != field}, INDEX | {field: 1.5}):
        with pytest.raises(UserError, match=f"(no|its) {field}"):
            parse_index(json.dumps(index).encode(), Path("a.json"))


@pytest.mark.parametrize("depth", [DEEPEST_JSON, 500, 100_000])
def test_json_that_is_nested_too_deep_is_refused(depth):
    text = json.dumps(INDEX).replace('{"seed": 71}', '{"a":' * depth + "1" + "}" * depth)
    with pytest.raises(UserError, match="cannot be read as JSON"):
        parse_index(text.encode(), Path("a.json"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_not_finite_or_too_long_are_refused(number):
    with pytest.raises(UserError, match="cannot be read as JSON"):
        parse_index(json.dumps(INDEX).replace("71", number).encode(), Path("a.json"))


def test_a_huge_file_is_refused_before_it_is_read_whole(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(LARGEST_INDEX * 100)
    with pytest.raises(UserError, match=f"has more than {LARGEST_INDEX} bytes"):
        read_index(tmp_path / "a.json")


def test_the_number_of_values_is_bounded_before_they_take_memory():
    with pytest.raises(UserError, match="has more than 1024 values"):
        parse_object(b'{"a": [' + b"[]," * 1100 + b"0]}", 1 << 14)
    assert len(parse_object(b'{"a": [' + b"[]," * 500 + b"0]}", 1 << 14)["a"]) == 501
