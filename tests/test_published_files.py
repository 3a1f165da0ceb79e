"""Shards and checkpoints that an earlier version wrote are read by this one.

tests/published/ was made before the folders were rearranged: a film of tests/support/media/films.py packed in three
formats, and a training of a tiny network that SIGTERM stopped in its second epoch.
"""

import hashlib
import shutil

import pytest

from model.checkpoint import load_network
from pack.holes import nonwarp_mask
from pack.shards.record import decode
from pack.shards.shard import list_shards, read_record
from tests.support import ROOT
from tests.support.training import trainings

PUBLISHED = ROOT / "tests" / "published"
FLAGS = (
    "--loss temporal_l1 --tile 64 --num-samples 48 --backward-step 2 --max-epoch 3 --learning-rate-cycles 1 "
    "--eval-step 1 --save-every-steps 1 --num-workers 0 --seed 1 --ema-model"
).split()
# sha256 of the frames and masks of the record, in either lossless format
PIXELS = "a30f627562cf2ff8e1643b404dead3c746a6e6e79f0479c38aff72f1f56ec676"


@pytest.mark.parametrize("image_format", ["webp", "png", "jpeg"])
def test_a_shard_of_an_earlier_version_is_read(image_format):
    shard = next(
        shard for shard in list_shards(PUBLISHED / "data" / "train") if shard.tar.name.startswith(image_format)
    )
    (entry,) = shard.records
    record = decode(entry.key, read_record(shard, entry))
    assert record.frames.shape == (16, 96, 96, 3) and record.masks.shape == (16, 96, 96)
    found = hashlib.sha256(record.frames.tobytes() + record.masks.tobytes()).hexdigest()
    assert (found == PIXELS) == (image_format != "jpeg")


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_version_resumes_with_the_same_stream(tmp_path):
    shutil.copytree(PUBLISHED / "model", tmp_path / "model")
    words = ["-i", PUBLISHED / "data", "--model-dir", tmp_path / "model", *FLAGS, "--resume"]
    log = trainings.train(tmp_path, *words).log()
    assert "resumed in epoch 2 after 2 sequences" in log
    assert "stream 94a6c92b072eaa01" in log  # that of the run as the earlier version ended it
    assert trainings.checkpoint(tmp_path / "model")["last_epoch"] == 2


def test_a_network_of_an_earlier_version_loads(tmp_path):
    network = load_network(PUBLISHED / "model" / f"{trainings.NAME}.pth")
    assert sum(weight.numel() for weight in network.parameters()) == 148976


def test_names_that_other_programs_import_stay():
    assert callable(nonwarp_mask) and callable(load_network)
