import json
import random
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pack.shards.index import index_path, read_index
from pack.shards.shard import list_shards
from tests.support.shards import make_data, make_split
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from tools.inspection.shard_checks import verify_shard
from train.data.plan import replacement
from train.data.records import Records
from train.data.samples import BadRecord, Samples

SEED, SHARDS, RECORDS = 3, 3, 6


def flip(folder, record, at):
    """Flip a bit of a record, at a part of its length."""
    tar, entry = entries(folder)[record]
    flip_bit(tar, entry.offset + int(at * entry.length), 0)


def flip_bit(path, place, bit):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def entries(folder):
    return [(shard.tar, entry) for shard in list_shards(Path(folder)) for entry in shard.records]


def members(tar, entry):
    """Name, and where in the tar header and payload stand, of each file of a record."""
    data, place = tar.read_bytes(), entry.offset
    while place < entry.offset + entry.length:
        name = data[place : place + 100].rstrip(b"\0").decode()
        size = int(data[place + 124 : place + 135], 8)
        yield name, place, place + 512, size
        place += 512 + -(-size // 512) * 512


def flip_in(kind):
    """Flip a bit in the payload of a file whose name ends so, or in a header."""

    def inject(folder, rng):
        record = rng.randrange(RECORDS)
        tar, entry = entries(folder)[record]
        _, header, payload, size = rng.choice([m for m in members(tar, entry) if m[0].endswith(kind)])
        flip_bit(tar, header + rng.randrange(512) if not kind else payload + rng.randrange(size), rng.randrange(8))
        return {record}

    return inject


def cut_in_header(folder, rng):
    return cut(folder, rng, lambda header, _payload, _size: header + rng.randrange(512))


def cut_in_payload(folder, rng):
    return cut(folder, rng, lambda _header, payload, size: payload + rng.randrange(size))


def cut(folder, rng, choose):
    tar, entry = rng.choice(entries(folder))
    _, header, payload, size = rng.choice(list(members(tar, entry)))
    every = entries(folder)
    end = choose(header, payload, size)
    with open(tar, "r+b") as file:
        file.truncate(end)
    return {r for r, (other, e) in enumerate(every) if other == tar and e.offset + e.length > end}


def swapped(folder, rng):
    every = entries(folder)
    one, two = rng.sample(sorted({tar for tar, _ in every}), 2)
    aside = one.with_suffix(".aside")
    one.rename(aside), two.rename(one), aside.rename(two)
    return {r for r, (tar, _) in enumerate(every) if tar in (one, two)}


def missing(folder, rng):
    every = entries(folder)
    tar = rng.choice(every)[0]
    tar.unlink()
    return {r for r, (other, _) in enumerate(every) if other == tar}


def emptied(folder, rng):
    every = entries(folder)
    tar = rng.choice(every)[0]
    tar.write_bytes(b"")
    return {r for r, (other, _) in enumerate(every) if other == tar}


def stale_index(folder, rng):
    """A shard packed again, with other clips, under the index that it had before."""
    every = entries(folder)
    tar = rng.choice(every)[0]
    old = index_path(tar).read_bytes()
    again = make_split(folder / "again", records=2, shards=1, first=rng.randrange(10, 1000), size=64)
    (new,) = again.glob("*.tar")
    new.replace(tar)
    shutil.rmtree(again)
    index_path(tar).write_bytes(old)
    return {r for r, (other, _) in enumerate(every) if other == tar}


def stale_tar(folder, rng):
    """The same clips packed again with other bytes in one image, without the index: sizes and names are as before."""
    record = rng.randrange(RECORDS)
    tar, entry = entries(folder)[record]
    _, _, payload, size = rng.choice([m for m in members(tar, entry) if m[0].endswith("C.png")])
    data = bytearray(tar.read_bytes())
    data[payload : payload + size] = rng.randbytes(size)
    tar.write_bytes(data)
    return {record}


KINDS = {
    "cut in header": cut_in_header,
    "cut in payload": cut_in_payload,
    "flip in image": flip_in("C.png"),
    "flip in mask": flip_in("M.png"),
    "flip in json": flip_in("json"),
    "flip in header": flip_in(""),
    "swapped shards": swapped,
    "missing shard": missing,
    "stale index": stale_index,
    "other payload": stale_tar,
    "empty shard": emptied,
}


class Injector:
    """A clean split to damage copies of, and what its samples are."""

    def __init__(self, folder):
        self.folder = folder
        self.clean = make_split(folder / "clean", records=RECORDS, shards=SHARDS, size=64)
        self.records = Records(list_shards(self.clean))
        self.expected = [self.of(self.clean)[0, 0, record] for record in range(RECORDS)]

    def of(self, split, seed=None):
        """The samples of a split, listed while it was clean."""
        records = Records(list_shards(self.clean))
        records.shards = [replace(shard, tar=split / shard.tar.name) for shard in records.shards]
        return Samples(records, 12, 64, seed)

    def inject(self, kind, rng):
        """Damage a copy, and check that all is caught, none yields a wrong sample and replacements agree."""
        split = self.copy()
        bad = KINDS[kind](split, rng)
        assert bad
        self.check_samples(split, bad)
        self.check_replacement(split, bad, slot=rng.randrange(1000))
        self.check_start(split, bad)
        tars = {self.records[record][0].tar.name for record in bad}
        assert all(verify_shard(split / tar) for tar in tars), (kind, tars)

    def copy(self):
        split = self.folder / "damaged"
        shutil.rmtree(split, ignore_errors=True)
        return shutil.copytree(self.clean, split)

    def check_samples(self, split, bad):
        for record, clean in enumerate(self.expected):
            found = self.of(split)[0, 0, record]
            if record in bad:
                assert isinstance(found, BadRecord) and found.key == self.records[record][1].key, record
            else:
                assert torch.equal(found.frames, clean.frames) and torch.equal(found.holes, clean.holes), record

    def check_replacement(self, split, bad, slot):
        """Two ranks, which know nothing of each other, show the same good record, and say what was bad."""
        record = min(bad)
        one, other = (self.of(split, SEED)[1, slot, record] for _ in range(2))
        chosen = [record, *(replacement(SEED, 1, slot, attempt, RECORDS) for attempt in range(1, 10))]
        good = next((number for number in chosen if number not in bad), None)
        if good is None:
            assert isinstance(one, BadRecord)
            return
        assert one.slot.record == other.slot.record == good and torch.equal(one.frames, other.frames)
        assert torch.equal(one.frames, self.of(self.clean, SEED)[1, slot, good].frames)
        skipped = chosen[: chosen.index(good)]
        assert [bad_record.key for bad_record in one.bad_records] == [self.records[number][1].key for number in skipped]

    def check_start(self, split, bad):
        """A run that starts on it says which shard it is, or meets nothing but what was caught above."""
        try:
            records = Records(list_shards(split))
        except ValueError as error:
            assert any(self.records[record][0].name in str(error) for record in bad)
            return
        found = [Samples(records, 12, 64)[0, 0, record] for record in range(RECORDS)]
        assert {record for record, sample in enumerate(found) if isinstance(sample, BadRecord)} == bad


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_caught_and_never_becomes_a_sample(kind, injector):
    rng = random.Random(kind)
    for _ in range(5):
        injector.inject(kind, rng)


@pytest.fixture(scope="module")
def injector(tmp_path_factory):
    return Injector(tmp_path_factory.mktemp("faults"))


def test_no_bit_of_an_index_can_turn_into_a_wrong_sample(injector):
    """It fails to load, or a record is refused, or the bit means nothing to samples."""
    rng = random.Random(0)
    loaded = 0
    for _ in range(80):
        split = injector.copy()
        path = rng.choice(sorted(split.glob("*.json")))
        flip_bit(path, rng.randrange(path.stat().st_size), rng.randrange(8))
        try:
            records = Records(list_shards(split))
        except ValueError as error:
            assert path.stem in str(error)
            continue
        loaded += 1
        for record in range(RECORDS):
            found = Samples(records, 12, 64)[0, 0, record]
            if not isinstance(found, BadRecord):
                assert torch.equal(found.frames, injector.expected[record].frames)
    assert 5 < loaded < 70


def test_an_empty_index_is_reported_by_its_name(injector):
    split = injector.copy()
    path = min(split.glob("*.json"))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=path.name):
        list_shards(split)


def test_an_index_that_vouches_for_a_broken_image_gives_no_sample(injector):
    """As when a shard was damaged before its index was made."""
    split = injector.copy()
    tar, entry = entries(split)[0]
    _, _, payload, _ = next(m for m in members(tar, entry) if m[0].endswith("03_C.png"))
    data = bytearray(tar.read_bytes())
    data[payload + 40 : payload + 60] = bytes(20)
    tar.write_bytes(data)
    index = json.loads(index_path(tar).read_text())
    index["records"][0]["crc32"] = zlib.crc32(data[entry.offset : entry.offset + entry.length])
    index_path(tar).write_text(json.dumps(index))
    assert read_index(index_path(tar)).records
    assert isinstance(Samples(Records(list_shards(split)), 12, 64)[0, 0, 0], BadRecord)


@pytest.mark.slow
def test_a_missing_shard_ends_the_run_with_its_records_in_quarantine_and_restoring_it_fixes_the_run(tmp_path):
    data = make_data(tmp_path / "data", records=8, evaluation=1, size=64)
    flags = trainings.command(data, tmp_path, "--max-epoch", "5", "--hard-example", "none", "--resume")
    hooks = [["rename at", "train.loop.step", 4, str(data / "train/s0-01.tar")]]
    job = trainings.start(tmp_path, *flags, "--num-workers", "1", world=2, hooks=hooks)
    assert job.wait() == [2, 2]
    last = job.log().splitlines()[-1]
    assert "Traceback" not in job.log() + job.log(1)
    assert last.startswith("error: 4 of 8 records are bad (see ") and "quarantine.jsonl" in last
    lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["key"] for line in lines} == {f"test_{number}_0" for number in (1, 3, 5, 7)}
    assert all("s0-01.tar" in line and "No such file" in line for line in lines)
    (data / "train/gone").rename(data / "train/s0-01.tar")
    (tmp_path / "quarantine.jsonl").unlink()
    trainings.train(tmp_path, *flags, world=2)
    assert not (tmp_path / "quarantine.jsonl").exists()
