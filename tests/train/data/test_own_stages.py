"""Stages of a user between the decoded tile and the network."""

from dataclasses import replace

import pytest
import torch

from tests.train.data.test_stream import SEED, TILE, content, slots, split  # noqa: F401
from tools.cli import UserError
from train.data.augment import to_device_batch
from train.data.records import Records
from train.data.samples import Samples
from train.data.stream import Stream
from train.runtime.seeds import generator


def grain(samples):
    """Noise on the frames, drawn from the slot alone."""
    for sample in samples:
        gen = generator(1, sample.slot.epoch, sample.slot.index, "grain")
        noise = torch.randint(-4, 5, sample.frames.shape, generator=gen)
        yield replace(sample, frames=(sample.frames + noise).clamp(0, 255).byte())


def bright(samples):
    """Only records that are not dark."""
    for sample in samples:
        if sample.slot.record == 4:
            raise UserError("too dark")
        yield sample


def twice(samples):
    for sample in samples:
        yield from (sample, sample)


def of(split, *own):  # noqa: F811
    from pack.shards.shard import list_shards

    return Samples(Records(list_shards(split)), 12, TILE, SEED, own=own)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stage_of_ones_own_changes_samples_alike_with_any_number_of_workers(workers, split):  # noqa: F811
    plain = list(Stream(of(split), 0).samples(slots(16)))
    expected = list(Stream(of(split, grain), 0).samples(slots(16)))
    stream = Stream(of(split, grain), workers)
    assert [content(sample) for sample in stream.samples(slots(16))] == [content(sample) for sample in expected]
    stream.close()
    for one, other in zip(plain, expected, strict=True):
        assert one.digest != other.digest and 0 < (one.frames.int() - other.frames.int()).abs().max() <= 4
    assert to_device_batch(expected[:2], "cpu")[0].shape == (2, 12, 3, TILE, TILE)


def test_a_stage_of_ones_own_can_refuse_a_record_which_is_replaced(split):  # noqa: F811
    found = list(Stream(of(split, bright), 0).samples(slots(16)))
    refused = [bad for sample in found for bad in sample.bad_records if bad.reason == "too dark"]
    assert refused and all(sample.slot.record != 4 for sample in found)


def test_a_stage_that_makes_two_samples_of_one_is_a_bug(split):  # noqa: F811
    with pytest.raises(TypeError, match=r"twice.*made 2 samples of one, expected 1"):
        of(split, twice)[1, 0, 0]
