"""A resume file whose fields are not what training writes is one line, and the older one is used."""

import math
from dataclasses import fields

import pytest
import torch

from model.checkpoint import write_checkpoint
from tests.support.shards import make_data
from tests.support.training import trainings
from tools.cli import UserError
from train.checkpoints.fields import PLACE
from train.checkpoints.state import VERSION, Position, as_payload, checkpoint_path, read_newest

NAME = "net"
DATA = {"fingerprint": "f", "eval_fingerprint": "e", "shards": [["a", "1", 3], ["b", "2", 2, 0, 4]]}


def payload(place=None, ours=None, **file):
    position = Position("20260101120000", 7, losses=[(3, 0.25)], rows=[[1, 0.5, None]], sums={"l1": 0.125})
    backfill = as_payload(position, DATA, mining=None, ema=None, gan=None, averages=None)
    backfill["place"] |= place or {}
    saved = {"state_dict": {"w": torch.ones(2)}, "kwargs": {}, "train_kwargs": {}}
    saved |= {"optimizer_state_dict": [{}], "grad_scaler_state_dict": [{}], "backfill": backfill | (ours or {})}
    return saved | file


DAMAGED = [
    *({"place": {"run_id": run_id}} for run_id in ("../../x", "/tmp/x", "", "1" * 100, 20260101, "1\n", "١٢")),
    *({"place": {"epoch": epoch}} for epoch in (-5, 0, 10**9, 1.0, True, "1", None)),
    *({"place": {"step": step}} for step in (-1, 10**15, 2.5)),
    {"place": {"slots_done": -1}},
    {"place": {"seed": "x"}},
    {"place": {"digest": "../x"}},
    {"place": {"rows": [[1, 2]]}},
    {"place": {"losses": [(-1, 0.5)]}},
    {"place": {"losses": [(1, math.nan)]}},
    {"place": {"best_metrics": {"loss": "low"}}},
    *(
        {"place": {name: value}}
        for name, value in (("best", 2**70), ("sums", {"l1": 2**70}), ("rows", [[1, 2**70, None]]))
    ),
    {"place": {"more": 1}},
    {"ours": {"place": [1]}},
    {"ours": {"data": {}}},
    {"ours": {"data": DATA | {"shards": [["a", "1", -3]]}}},
    {"ours": {"version": "1"}},
    {"ours": {"averages": {"w": torch.tensor([math.nan])}}},
    {"state_dict": {"w": torch.tensor([1.0, math.nan])}},
    {"state_dict": [1]},
    {"optimizer_state_dict": []},
    {"backfill": 3},
]


@pytest.mark.parametrize("damage", DAMAGED, ids=str)
def test_a_field_that_training_would_not_write_is_one_line_and_the_older_checkpoint_is_used(damage, tmp_path):
    newest = checkpoint_path(tmp_path, NAME)
    write_checkpoint(newest, payload(**damage))
    with pytest.raises(UserError, match=r"net\.checkpoint\.pth is damaged \(.* no older one") as error:
        read_newest(tmp_path, NAME)
    assert "\n" not in str(error.value)
    write_checkpoint(checkpoint_path(tmp_path, NAME, 1), payload())
    saved, warnings = read_newest(tmp_path, NAME)
    assert saved["backfill"]["place"]["run_id"] == "20260101120000"
    assert len(warnings) == 1 and "resuming from net.checkpoint.1.pth, which is older" in warnings[0]


def test_every_field_of_a_position_is_checked():
    assert PLACE.keys() == {field.name for field in fields(Position)}


def test_a_file_of_iw3_and_one_of_another_version_are_left_to_the_messages_about_them(tmp_path):
    for saved in ({"number": 1}, payload(ours={"version": VERSION + 1, "place": 3})):
        write_checkpoint(checkpoint_path(tmp_path, NAME), saved)
        assert read_newest(tmp_path, NAME)[0].keys() == saved.keys()


@pytest.mark.slow
def test_a_training_goes_on_from_the_older_checkpoint_where_a_run_id_is_a_path(tmp_path):
    data = make_data(tmp_path / "data", records=4, evaluation=2, size=72)
    flags = trainings.command(data, tmp_path / "model", "--max-epoch", 2, "--scheduler", "step", "--resume")
    trainings.train(tmp_path / "log", *flags)
    saved = trainings.checkpoint(tmp_path / "model")
    saved["backfill"]["place"]["run_id"] = "../../outside"
    write_checkpoint(checkpoint_path(tmp_path / "model", trainings.NAME), saved)
    log = trainings.train(tmp_path / "log", *flags).log()
    assert "is damaged (run_id is '../../outside'): copy it again" in log and "which is older" in log
    assert not list(tmp_path.rglob("outside*"))
