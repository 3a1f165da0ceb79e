"""Stages of a user between the decoded tile and the network."""

import ctypes
import platform
import re
import resource
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from tests.support import ROOT
from tests.train.data.test_stream import SEED, TILE, content, slots, split  # noqa: F401
from tools.cli import UserError
from train.data.augment import to_device_batch
from train.data.records import Records
from train.data.samples import Samples
from train.data.stream import Stream


def documented():
    """The stages of the example in docs/training.md, as an own.py."""
    section = (ROOT / "docs/training.md").read_text().split("## The data pipeline")[1]
    own = ModuleType("own")
    exec(compile(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], "own.py", "exec"), vars(own))
    return own.STAGES


(grain,) = documented()


def bright(samples):
    """Only records that are not dark."""
    for sample in samples:
        if sample.slot.record == 4:
            raise UserError("too dark")
        yield sample


def counting_new_pages(samples):
    """In place of the digest, the pages that the system had to give for memory as large as some freed just before."""
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would count as one
    for sample in samples:
        torch.ones(16 << 20)  # 64 MB, more than glibc would ever keep
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(14 << 20)  # glibc 2.36 wants some room beside an aligned block
        yield replace(sample, digest=resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


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


# in a process of its own: the heap of one that ran other tests may have no room to grow as a training's does
NEW_PAGES = """
import sys
from pathlib import Path
from tests.train.data.test_own_stages import Stream, counting_new_pages, of, slots
stream = Stream(of(Path(sys.argv[1]), counting_new_pages), 1)
print(*(sample.digest for sample in stream.samples(slots(3))))
stream.close()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is configured")
def test_a_worker_reuses_the_memory_of_the_last_frames(split):  # noqa: F811
    done = subprocess.run([sys.executable, "-c", NEW_PAGES, split], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    new_pages = [int(word) for word in done.stdout.split()]
    assert len(new_pages) == 3 and max(new_pages) < 100  # of 64 kB or less; without that, at least 800
