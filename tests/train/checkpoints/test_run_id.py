"""Ids of runs."""

import re
import time

from train.checkpoints.run_id import new_run_id


def test_runs_that_start_in_the_same_second_have_different_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _: "20260101120000")
    found = {new_run_id(tmp_path / "absent") for _ in range(20)}
    assert len(found) > 15 and all(re.fullmatch("20260101120000[0-9]{6}", run_id) for run_id in found)


def test_an_id_sorts_after_those_of_earlier_runs_though_the_clock_was_set_back(tmp_path, monkeypatch):
    earlier = ["20251231235959", "20260101120000", "20260101120000999999"]
    for name in [*earlier, "9" * 20, "9" * 21, "notes", "2026", "٢" * 20]:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(time, "strftime", lambda _: "20260101110000")
    for _ in range(3):
        run_id = new_run_id(tmp_path)
        (tmp_path / run_id).mkdir()
        earlier.append(run_id)
    assert earlier == sorted(earlier) and earlier[-1] == "20260101120001000002"
