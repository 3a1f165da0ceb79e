import errno
import json
import time
from pathlib import Path

import pytest
import torch

from tests.support.programs import refused, run_program, succeeds
from tests.support.shards import make_data, make_split
from tools.cli import UserError
from tools.gpu import work as work_module
from tools.gpu.__main__ import deadlines, main, table
from tools.gpu.parity import relative
from tools.gpu.work import Row, Work

CPU = torch.device("cpu")


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def run_part(part, films, folder):
    """What a part writes with the smallest sizes, and prints."""
    data = make_data(folder / "data", records=3, evaluation=2, size=96)
    words = ("--tiny", "--device", "cpu", "--videos", films, "-i", data, "-o", folder, "--parts", part)
    out = succeeds(main, *words)
    found = lines(folder)
    failures = [line for line in found if line["failure"]]
    assert not failures, failures
    assert [line["what"] for line in found if line["what"].startswith("part ")] == [f"part {part}"]
    assert out.count("\n") > 2 * len(found)
    return found, out


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_part_a_runs_with_the_smallest_sizes_on_a_cpu(short_films, tmp_path):
    found, _ = run_part("a", short_films, tmp_path)
    equal = [line for line in found if line["goal"] == 0]
    assert len(equal) >= 5 and all(line["found"] == 0 for line in equal)
    assert all(0 < line["notes"]["hole_share"] < 0.5 for line in found if line["what"].startswith("holes"))
    assert all(line["ok"] is not False for line in found)  # a CPU is equal to itself, and bf16 is within its goals
    assert any("bf16, gradient" in line["what"] for line in found) and any("loss" in line["what"] for line in found)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_part_b_runs_with_the_smallest_sizes_on_a_cpu(short_films, tmp_path):
    found, out = run_part("b", short_films, tmp_path)
    assert {line["notes"].get("mode") for line in found} >= {"eager", "compiled"}
    assert sum(line["unit"] == "sequences/s" and line["found"] > 0 for line in found) >= 5
    assert "a real training" in out and "data path" in out


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_part_c_runs_with_the_smallest_sizes_on_a_cpu(short_films, tmp_path):
    found, out = run_part("c", short_films, tmp_path)
    assert sum(line["unit"] == "frames/s" and line["found"] > 0 for line in found) >= 3
    assert "stereo, network" in out


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_part_d_runs_with_the_smallest_sizes_on_a_cpu(short_films, tmp_path):
    found, _ = run_part("d", short_films, tmp_path)
    assert {"PSNR in holes, before", "PSNR in holes, after"} <= {line["what"] for line in found}


def test_each_result_is_written_at_once(tmp_path, capsys):
    work = Work(CPU, tmp_path, tmp_path, (), "base", True)
    work.add(Row("a", "first", 0.5, "x", goal=1.0))
    assert lines(tmp_path)[0]["ok"] is True
    work.add(Row("b", "second", failure="out of memory"))
    assert [line["ok"] for line in lines(tmp_path)] == [True, None]
    assert "out of memory" in table(work.rows)


def test_the_best_setting_is_the_fastest_in_the_precision_of_a_training(tmp_path, monkeypatch):
    monkeypatch.setattr(work_module, "precision", lambda config, device: "bf16")
    work = Work(CPU, tmp_path, tmp_path, (), "base", True)
    assert work.best_batch() == {}
    for precision, rate in (("fp16", 9.0), ("bf16", 5.0), ("bf16", 7.0)):
        notes = {"mode": "eager", "precision": precision, "sequences_per_second": rate}
        work.add(Row("b", "step", rate, notes=notes))
    assert work.best_batch()["sequences_per_second"] == 7.0
    monkeypatch.setattr(work_module, "precision", lambda config, device: "fp32")
    assert work.best_batch()["sequences_per_second"] == 9.0


def test_a_program_takes_at_most_half_of_the_time_that_is_left(tmp_path, monkeypatch):
    allowed = []
    monkeypatch.setattr(work_module, "run_program", lambda *words, seconds: allowed.append(seconds) or "")
    for end in (time.monotonic() + 400, time.monotonic() + 10, float("inf")):
        Work(CPU, tmp_path, tmp_path, (), "base", False, end=end).run("pack/main.py")
    assert 60 <= allowed[0] <= 200 and allowed[1:] == [60, 600]
    Work(CPU, tmp_path, tmp_path, (), "base", True, end=0.0).run("pack/main.py")
    assert allowed[3] > 600  # the smallest sizes test the command, on machines of any speed


def test_a_program_that_hangs_is_ended_with_its_workers(monkeypatch):
    monkeypatch.setattr(work_module, "GRACE", 0.2)
    worker = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(900)'])"
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {worker}"
    with pytest.raises(UserError, match="after 1 s, which was all of its time"):
        work_module.run_program("-c", deaf, seconds=1)


def test_a_long_reason_does_not_widen_the_columns_of_other_rows():
    rows = [Row("a", "first", 0.5, "x", goal=1.0), Row("b", "second", failure="a long reason " * 9)]
    header, first, second = table(rows).splitlines()
    assert len(first) < 40 and second.endswith(("a long reason " * 9).strip())
    assert header.index("goal") == first.index("<= 1")


@pytest.mark.parametrize(
    ("given", "splits"),
    [
        ({"a": 2, "b": 1, "c": 1}, {"eval": "c", "train": "ab"}),
        ({"a": 2, "b": 1, "c": 0}, {"eval": "cb", "train": "a"}),
        ({"a": 2, "b": 0, "c": 0}, None),
        ({"a": 0, "b": 0, "c": 1}, None),
    ],
)
def test_the_last_film_that_gives_records_is_for_evaluation(given, splits, tmp_path, monkeypatch):
    from tools.gpu import data

    packed = {}

    def pack(work, split, *videos):
        packed[split] = packed.get(split, "") + "".join(map(str, videos))
        if records := sum(given[str(video)] for video in videos):
            make_split(work.data / split, records=records, shards=1, size=64)

    monkeypatch.setattr(data, "pack", pack)
    work = Work(CPU, tmp_path, tmp_path, tuple(map(Path, given)), "base", True)
    if splits is None:
        with pytest.raises(UserError, match="too few holes"):
            data.ready_data(work)
    else:
        data.ready_data(work)
        assert packed == splits


def test_a_part_that_fails_costs_no_other(tmp_path, monkeypatch):
    from tools.gpu import films, parity

    def broken(work):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(parity, "measure", broken)
    monkeypatch.setattr(films, "measure", lambda work: work.add(Row("c", "stereo", 2.0, "frames/s")))
    (tmp_path / "a.mp4").write_bytes(b"")
    words = ("--device", "cpu", "--videos", tmp_path / "a.mp4", "-o", tmp_path, "--parts", "c", "a")
    status, out, err = run_program(main, *words)
    assert status == 1 and "no kernel image" in out and "Traceback" in err
    assert [line["what"] for line in lines(tmp_path)[1:]] == ["the part", "part a", "stereo", "part c"]


def failing(work, *_):
    raise RuntimeError("no kernel image")


@pytest.mark.parametrize("broken", ["check_network", "check_masks", "check_optimizers", "check_two_runs"])
def test_a_check_that_fails_costs_no_other(broken, tmp_path, monkeypatch):
    from tools.gpu import parity

    checks = [name for name in vars(parity) if name.startswith("check_")]
    for name in checks:
        monkeypatch.setattr(parity, name, named(name, lambda work, name=name: work.add(Row("a", name, 0.0))))
    monkeypatch.setattr(parity, broken, named(broken, failing))
    work = Work(CPU, tmp_path, tmp_path, (), "base", True)
    parity.measure(work)
    assert len(work.rows) == len(checks) and work.status == 1
    assert [row.what for row in work.rows if row.failure] == [broken.replace("_", " ")]


def named(name, act):
    """The function with this name."""
    act.__name__ = name
    return act


@pytest.mark.parametrize("broken", ["time_steps", "ready_data", "measure_data", "measure_training"])
def test_a_rate_that_fails_costs_no_other(broken, tmp_path, monkeypatch):
    from tools.gpu import rates

    found = {"sequences_per_second": 1.0, "batch": 1, "mode": "eager", "precision": "bf16"}
    monkeypatch.setattr(rates, "time_steps", lambda *_: found)
    monkeypatch.setattr(rates, "release", lambda device: None)  # collecting garbage takes seconds here
    for name in ("ready_data", "measure_data", "measure_training"):
        monkeypatch.setattr(rates, name, lambda work, name=name: work.add(Row("b", name, 1.0)))
    monkeypatch.setattr(rates, broken, failing)
    work = Work(CPU, tmp_path, tmp_path, (), "base", True)
    rates.measure(work)
    kept = {name for name in ("ready_data", "measure_data", "measure_training") if name != broken}
    assert kept <= {row.what for row in work.rows} and work.status == 1
    assert any(row.failure == "no kernel image" for row in work.rows)


def test_a_film_that_fails_costs_neither_the_others_nor_packing(tmp_path, monkeypatch):
    from tools.gpu import films

    def time_stereo(work, film, count, *flags):
        return failing(work) if "--checkpoint" in flags else float(count)

    monkeypatch.setattr(films, "enlarge", lambda work: tmp_path / "film.mp4")
    monkeypatch.setattr(films, "time_stereo", time_stereo)
    monkeypatch.setattr(films, "pack", lambda work, split, film: work.add(Row("c", "packing", 5.0)))
    work = Work(CPU, tmp_path, tmp_path, (tmp_path / "a.mp4",), "base", True)
    films.measure(work)
    assert [(row.what, bool(row.failure)) for row in work.rows] == [
        ("stereo, network", True), ("stereo, simple fill", False), ("packing", False),
    ]  # fmt: skip


def test_a_full_disk_of_a_part_is_one_line_and_status_2(tmp_path, monkeypatch):
    from tools.gpu import parity

    def full(work):
        raise OSError(errno.ENOSPC, "No space left on device", "a.tar")

    monkeypatch.setattr(parity, "measure", full)
    (tmp_path / "a.mp4").write_bytes(b"")
    words = ("--device", "cpu", "--videos", tmp_path / "a.mp4", "-o", tmp_path, "--parts", "a")
    status, _, err = run_program(main, *words)
    assert status == 2 and "Traceback" not in err
    assert "error: part a, the part: No space left on device: a.tar: free some space" in err


def test_a_setting_that_needs_too_much_memory_is_a_row(tmp_path, monkeypatch):
    from tools.gpu import rates

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(rates, "time_steps", full)
    work = Work(CPU, tmp_path, tmp_path, (), "base", True)
    assert not rates.measure_steps(work, "eager", "bf16", 16)
    assert lines(tmp_path)[0]["failure"] == "out of memory" and lines(tmp_path)[0]["found"] is None


def test_a_part_that_has_used_its_share_of_the_time_starts_nothing_more(tmp_path, monkeypatch):
    from tools.gpu import rates

    work, started = Work(CPU, tmp_path, tmp_path, (), "base", tiny=False), []

    def first(_, *setting):
        started.append(setting)
        work.deadline = 0.0
        return True

    monkeypatch.setattr(rates, "measure_steps", first)
    for name in ("ready_data", "measure_data", "measure_training"):
        monkeypatch.setattr(rates, name, started.append)
    rates.measure(work)
    assert len(started) == 1 and all("no time is left" in row.failure for row in work.rows)


def test_parity_is_measured_without_tf32_whatever_was_allowed_before(tmp_path, monkeypatch):
    from tools.gpu import parity

    checks = [name for name in vars(parity) if name.startswith("check_")]
    found = []
    for name in checks:
        act = named(name, lambda work: found.append(torch.get_float32_matmul_precision()))
        monkeypatch.setattr(parity, name, act)
    torch.set_float32_matmul_precision("medium")  # as on processors whose products are faster so
    parity.measure(Work(CPU, tmp_path, tmp_path, (), "base", tiny=True))
    assert found and {*found} == {"highest"} and not torch.backends.cudnn.allow_tf32


def test_a_part_for_which_no_time_is_left_is_a_row(tmp_path, monkeypatch):
    from tools.gpu import films, parity

    (tmp_path / "a.mp4").write_bytes(b"")
    monkeypatch.setattr(parity, "measure", lambda work: time.sleep(0.01))
    monkeypatch.setattr(films, "measure", lambda work: pytest.fail("it was started"))
    words = ("--device", "cpu", "--videos", tmp_path / "a.mp4", "-o", tmp_path, "--minutes", 1e-5)
    assert "no time is left" in succeeds(main, *words, "--parts", "a", "c")


def test_the_chosen_parts_share_the_minutes():
    now = time.monotonic()
    whole, some = deadlines(("a", "b", "c", "d"), now, 100.0), deadlines(("d", "a"), now, 100.0)
    assert [*whole] == ["a", "b", "c", "d"] and [*some] == ["a", "d"]
    assert whole["d"] == pytest.approx(now + 100) and some["d"] == pytest.approx(now + 100)
    assert some["a"] == pytest.approx(now + 40)


def test_the_relative_difference_is_that_of_norms():
    assert relative([torch.tensor([3.0, 4.5])], [torch.tensor([3.0, 4.0])]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--parts", "e"), "expected some of a b c d"), (("--minutes", 0), "expected more than 0")],
)
def test_a_mistake_is_one_line(words, said):
    assert said in refused(main, *words)
