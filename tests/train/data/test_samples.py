import errno
from dataclasses import replace

import pytest

from pack.shards.index import Entry
from pack.shards.shard import list_shards
from pack.shards.untrusted import CorruptRecord
from tests.support.shards import make_split
from tools.cli import UserError
from train.data import samples as module
from train.data.plan import Slot
from train.data.records import Records
from train.data.samples import BadRecord, Samples

BUGS = [
    ValueError("could not broadcast"),
    TypeError("not iterable"),
    KeyError("json"),
    RuntimeError("sizes"),
    SyntaxError("x"),
    OSError("of a library"),
]
SHORTAGES = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.EMFILE, "Too many open files"),
    RuntimeError("can't start new thread"),
]
BAD = [CorruptRecord("crc32 differs"), UserError("no mask for every frame"), OSError(errno.EIO, "Input/output error")]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("samples") / "train", records=3, shards=1, size=72)


def failing(split, where, error, monkeypatch):
    def fail(*_, **__):
        raise error

    samples = Samples(Records(list_shards(split)), 12, 64, read=fail if where == "read" else None)
    if where != "read":
        monkeypatch.setattr(module, where, fail)
    return samples


@pytest.mark.parametrize("where", ["read", "decode_masks", "decode_frames", "cut"])
@pytest.mark.parametrize("error", BUGS + SHORTAGES, ids=repr)
def test_a_bug_and_a_shortage_are_raised_and_no_record_is_blamed(where, error, split, monkeypatch):
    samples = failing(split, where, error, monkeypatch)
    with pytest.raises(type(error)) as caught:
        samples[Slot(0, 0, 1)]
    assert caught.value is error
    with pytest.raises(type(error)):
        samples.check_fit()


@pytest.mark.parametrize("where", ["read", "decode_masks"])
@pytest.mark.parametrize("error", BAD, ids=lambda error: type(error).__name__)
def test_what_readers_and_the_system_raise_makes_a_record_bad(where, error, split, monkeypatch):
    samples = failing(split, where, error, monkeypatch)
    found = samples[Slot(0, 0, 1)]
    assert isinstance(found, BadRecord) and found.key == "test_1_0"
    assert found.reason == (error.strerror if isinstance(error, OSError) else str(error))
    samples.check_fit()


def test_the_digest_of_the_stream_tells_two_records_apart_that_differ_in_their_bytes_alone():
    entry = Entry("k", 0, 1024, 1)
    digests = [module._digest(each, [0, 1], (2, 3), None) for each in (entry, entry, replace(entry, crc32=2))]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] == module._digest(replace(entry, offset=512), [0, 1], (2, 3), None)  # where it lies is no matter


def test_the_share_whose_holes_are_as_used_changes_no_other_sample(split):
    records = Records(list_shards(split))
    slots = [Slot(1, index, index % len(records)) for index in range(60)]
    random, half, all_used = (
        [Samples(records, 12, 64, 3, holes_as_used=share)[slot] for slot in slots] for share in (0, 0.5, 1)
    )
    chosen = [a.digest != b.digest for a, b in zip(random, half, strict=True)]
    assert 15 <= sum(chosen) <= 45
    for is_used, *samples in zip(chosen, random, half, all_used, strict=True):
        without, found, used = samples
        assert used.digest != without.digest
        assert found.digest == (used if is_used else without).digest
        assert found.holes.equal((used if is_used else without).holes)
    assert sum(not a.holes.equal(b.holes) for a, b in zip(random, all_used, strict=True)) > 30
