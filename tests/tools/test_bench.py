import json
import re
from contextlib import ExitStack

import pytest
import torch

from tests.support import ROOT
from tests.support.programs import refused, succeeds
from tools import bench
from tools.benches import gpu
from tools.benches.case import Case, Goal, Race, Workplace, run_case

pytestmark = pytest.mark.slow

CASES = {case.name: case for module in bench.MODULES for case in bench.load(module)}

BF16 = {"step-bf16", "step-both-bf16"}  # only on processors that compute in it


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the cases' data is kept from one test to the next."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(autouse=True)
def threads(contained):
    """A case sets PyTorch's threads to what it needs."""


@pytest.mark.parametrize("case", [CASES[name] for name in CASES if name != "packing-cores"], ids=lambda case: case.name)
def test_every_case_agrees_with_its_reference_and_is_measured(case, folder, clips):
    result = run_case(case, folder, rounds=1, tiny=True).as_json()
    assert json.loads(json.dumps(result)) == result
    assert result["median"] > 0 and result["reached"] in (True, False, None)
    if result["seconds"]:
        assert set(result["seconds"]) == {"ours", "ours cpu", "reference", "reference cpu"}
        assert result["found"] == [result["seconds"]["reference"][0] / result["seconds"]["ours"][0]]


def test_the_document_has_a_row_for_each_case_and_names_no_other():
    text = (ROOT / "docs/performance.md").read_text()
    table = text[text.index("| case |") : text.index("## One GPU")]
    named = {name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall("`(.*?)`", cell)}
    assert named - BF16 == set(CASES) - BF16
    commands = " ".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    words = [word for words in re.findall(r'CASES="?([\w -]+)', commands) for word in words.split()]
    assert len(words) > 9 and set(words) <= {*CASES, *BF16, *bench.MODULES}


@pytest.mark.parametrize("case", gpu.cases(torch.device("cpu")), ids=lambda case: case.name)
def test_the_cases_of_a_gpu_compute_what_they_should_on_any_device(case, folder, clips):
    assert run_case(case, folder, rounds=1, tiny=True).found.median > 0


def test_all_cores_and_one_pack_the_same_shards(folder, clips):  # measured, it would take twice as long
    with ExitStack() as stack:
        race = CASES["packing-cores"].prepare(Workplace(folder, stack, tiny=True))
        race.check()
    shares = race.notes["share of each stage on one core"]
    assert set(shares) == {"decoding", "geometry", "depth", "holes", "crops", "encoding"}
    assert abs(sum(int(share.rstrip("%")) for share in shares.values()) - 100) <= 3


@pytest.mark.parametrize("name", ["sample-webp", "sample-png", "sample-jpeg"])
def test_the_time_of_a_sample_is_split_into_parts(name, folder, clips):
    with ExitStack() as stack:
        race = CASES[name].prepare(Workplace(folder, stack, tiny=True))
        race.check()
    shares = {part: int(share.rstrip("%")) for part, share in race.notes["share of each part in our time"].items()}
    assert set(shares) == {"reading", "decoding masks", "decoding frames", "growing holes", "the rest"}
    assert shares["decoding frames"] > 0 and abs(sum(shares.values()) - 100) <= 3


def test_nothing_is_timed_when_the_results_differ(tmp_path):
    def differ():
        raise AssertionError("they differ")

    timed = []
    case = Case("x", "", None, lambda _: Race(lambda: timed.append(1), lambda: timed.append(2), differ, 1, "thing"))
    with pytest.raises(AssertionError, match="they differ"):
        run_case(case, tmp_path, rounds=1)
    assert timed == []


def test_ours_and_the_reference_take_turns(tmp_path):
    turns = []
    race = Race(lambda: turns.append("ours"), lambda: turns.append("reference"), lambda: None, 1, "thing")
    result = run_case(Case("x", "", Goal(2), lambda _: race, most_rounds=3), tmp_path, rounds=7)
    assert turns == ["ours", "reference"] * 3
    assert len(result.found.values) == 3


def test_a_goal_is_a_lower_or_an_upper_bound():
    assert Goal(2).reached(2) and not Goal(2).reached(1.99)
    assert Goal(2, "s", at_most=True).reached(2) and not Goal(2, "s", at_most=True).reached(2.01)


def test_a_case_is_chosen_by_its_name_or_its_module_and_an_unknown_name_is_refused():
    assert [name for _, name in bench.choose(("holes-memory", "sample"))] == [
        "holes-memory", "sample-webp", "sample-png", "sample-jpeg",
    ]  # fmt: skip
    assert "--cases nothing: expected some of" in refused(bench.main, "--cases", "nothing")


def test_a_run_prints_a_row_and_appends_a_line_for_each_case(tmp_path, monkeypatch):
    line = {
        "name": "quick", "what": "", "goal": {"value": 2, "unit": "x", "at_most": False}, "found": [3.0, 4.0],
        "unit": "s/thing", "cpu_ratio": [3.0, 3.0], "seconds": {"ours": [1.0, 2.0], "reference": [3.0, 8.0]},
        "notes": {"why": "because"}, "reached": True, "median": 3.5,
    }  # fmt: skip
    monkeypatch.setattr(bench, "choose", lambda _: [("module", "quick")])
    monkeypatch.setattr(bench, "measure", lambda *_: line)
    for _ in range(2):
        out = succeeds(bench.main, "-o", tmp_path)
        assert "quick" in out and "reached" in out and "why: because" in out and "3.5 (3-4) x" in out
    lines = [json.loads(text) for text in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(found.items() >= line.items() and "cpu" in found["machine"] for found in lines)
