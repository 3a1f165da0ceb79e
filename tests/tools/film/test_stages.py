from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pack.shards.exclusion import read_keys
from tests.tools.film.test_certificate import shots
from tools.film import stages
from tools.film.work import Work

CONFIG = SimpleNamespace(tile=0, device="cpu", checkpoint="base")
PLAN = SimpleNamespace(size=96)


@pytest.fixture
def held(tmp_path, monkeypatch):
    """Names the shots of held-out records, two each, and collects the words that programs get."""
    calls = []
    monkeypatch.setattr(stages, "run", lambda *words: calls.append([str(word) for word in words]))
    monkeypatch.setattr(stages, "certify", lambda *_: None)

    def of(*numbers):
        frames = {f"k{number}-{half}": 20 * number for number in numbers for half in "ab"}
        monkeypatch.setattr(stages, "frames_of", lambda split: frames)
        work = Work(tmp_path)
        return work, stages.assign(work, shots(*[20] * 40)), calls

    return of


def excluded(words):
    """The keys that a program leaves out."""
    return read_keys(Path(words[words.index("--exclude") + 1])) if "--exclude" in words else frozenset()


def test_the_training_never_sees_a_shot_of_the_certificate(held, tmp_path):
    work, roles, calls = held(1, 4, 9, 20, 30)
    flags = stages.train_flags(CONFIG, work, PLAN, 20, torch.device("cpu"))
    (tmp_path / "tuned.pth").write_bytes(b"x")
    stages.prove(CONFIG, work, shots(*[20] * 40), PLAN, tmp_path / "tuned.pth", roles.apart)
    unseen, left_out = read_keys(flags["exclude"]), excluded(calls[-1])
    assert unseen == roles.test and left_out == roles.validation
    assert unseen | left_out == {f"k{n}-{half}" for n in (1, 4, 9, 20, 30) for half in "ab"} and not unseen & left_out


def test_with_too_few_shots_for_both_roles_no_record_is_left_out_and_old_lists_are_deleted(held, tmp_path):
    held(1, 4, 9, 20)
    work, roles, calls = held(1, 4, 9)
    assert "exclude" not in stages.train_flags(CONFIG, work, PLAN, 20, torch.device("cpu"))
    (tmp_path / "tuned.pth").write_bytes(b"x")
    stages.prove(CONFIG, work, shots(*[20] * 40), PLAN, tmp_path / "tuned.pth", roles.apart)
    assert not excluded(calls[-1]) and not list(tmp_path.glob("*.txt"))
    assert held(1, 4)[1] is None
