import json
from pathlib import Path

import pytest

from pack import jobs
from pack.shards.shard import list_shards
from tests.support.media.films import make_video
from tests.support.programs import refused, run_program, succeeds

TOML = """
[defaults]
size = 160
short_sides = [192, 216]
resolution = 64
[[job]]
video = "a.mp4"
prefix = "one"
[[job]]
video = "a.mp4"
prefix = "two"
skip_first = 4
split = "eval"
"""


def write(folder, text, name="jobs.toml"):
    (folder / name).write_text(text.replace('"a.mp4"', json.dumps(str(folder / "a.mp4"))))
    return folder / name


def read(path):
    return list(jobs.read_jobs(path, Path("data")))


def test_each_job_has_its_flags_the_defaults_and_its_split(tmp_path):
    one, two = (job.config for job in read(write(tmp_path, TOML)))
    assert (one.prefix, one.skip_first, one.size, one.short_sides) == ("one", 0, 160, (192, 216))
    assert (two.prefix, two.skip_first, two.data_dir) == ("two", 4, "data/eval")


def test_csv_and_toml_give_the_same_jobs(tmp_path):
    text = 'video,split,prefix,skip_first,size,resolution\n"a.mp4",,one,,160,64\n"a.mp4",eval,two,4,160,64\n'
    toml = TOML.replace("short_sides = [192, 216]\n", "")
    table, tree = read(write(tmp_path, text, "jobs.csv")), read(write(tmp_path, toml))
    assert table == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[job]]\nvideo = "a.mp4"\nmodle_type = "Any_B"\n', "job 1 has an unknown column modle_type"),
        ('[[job]]\nprefix = "a"\n', "job 1 has no video"),
        ('[[job]]\nvideo = "a.mp4"\nsplit = "test"\n', "has the split test"),
        ('[[job]]\nvideo = "a.mp4"\nseq = "many"\n', "job 1: argument --seq"),
        ('[[job]]\nvideo = "a.mp4"\nprefix = "a/b"\n', "job 1: --prefix"),
        ('[[jobs]]\nvideo = "a.mp4"\n', "unknown table jobs"),
        ("", "lists no job"),
        ("[[job]\n", "is not valid TOML"),
        ('[job]\nvideo = "a.mp4"\n', "write job with two brackets"),
        ('[[job]]\nvideo = "a.mp4"\n' * 2, "make records with the same keys"),
        ('[[job]]\nvideo = "--help"\n', "job 1 has the value --help, expected no option: write ./--x"),
    ],
)
def test_a_mistake_in_a_job_file_is_one_line_that_names_its_row(tmp_path, text, message):
    assert message in refused(jobs.main, "--jobs", write(tmp_path, text), "-o", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_job_file_is_one_line(tmp_path):
    assert "jobs.toml" in refused(jobs.main, "--jobs", tmp_path / "jobs.toml")


@pytest.mark.slow
def test_jobs_are_planned_then_packed_then_skipped(tmp_path):
    make_video(tmp_path / "a.mp4", frames=40)
    words = ["--jobs", write(tmp_path, TOML), "-o", tmp_path / "data", "--workers", 2]
    plan = succeeds(jobs.main, *words, "--dry-run")
    assert plan.count("to do, about") == 2 and not (tmp_path / "data").exists()
    done = succeeds(jobs.main, *words)
    assert "2 of 2 jobs done" in done
    keys = [list_shards(tmp_path / "data" / split)[0].name.split("_")[0] for split in ("train", "eval")]
    assert keys == ["one", "two"]
    assert succeeds(jobs.main, *words).count("1 packed before") == 2


@pytest.mark.slow
def test_a_job_that_fails_is_named_and_the_others_are_packed(tmp_path):
    make_video(tmp_path / "a.mp4", frames=40)
    text = TOML.replace('"a.mp4"', '"missing.mp4"', 1)
    status, _, err = run_program(jobs.main, "--jobs", write(tmp_path, text), "-o", tmp_path / "data")
    assert status == 1 and "failed: job 1 (missing.mp4, prefix one)" in err
    assert "missing.mp4: found no such video" in err
    assert list_shards(tmp_path / "data" / "eval")


@pytest.mark.parametrize("separator", ",;\t")
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_of_a_spreadsheet_is_read_with_its_byte_order_mark_and_separator(tmp_path, separator, mark):
    rows = [["video", "prefix", "split"], ["My Film (2020) $x.mp4", "a", "eval"]]
    path = write(tmp_path, mark + "\r\n".join(separator.join(row) for row in rows), "jobs.csv")
    (job,) = read(path)
    assert job.config.dataset_dir == ("My Film (2020) $x.mp4",) and job.config.prefix == "a"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Video ;Prefix;\r\nMy Film.mp4;a;\r\n;;\r\n\r\n", "utf-8"),
        ("sep=;\r\nvideo;prefix\r\nMy Film.mp4;a\r\n", "utf-8-sig"),
        ("video\tprefix\r\nMy Film.mp4\ta\r\n", "utf-16"),
        ("video,prefix\rMy Film.mp4,a\r", "utf-8"),
    ],
)
def test_what_spreadsheets_add_to_a_csv_does_not_matter(tmp_path, text, encoding):
    path = tmp_path / "Jobs.CSV"
    path.write_bytes(text.encode(encoding))
    (job,) = read(path)
    assert job.config.dataset_dir == ("My Film.mp4",) and job.config.prefix == "a"


def test_a_csv_of_another_encoding_is_one_line(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_bytes("video\ncafé.mp4\n".encode("cp1252"))
    assert "save it as CSV in UTF-8" in refused(jobs.main, "--jobs", path, "-o", tmp_path / "data")


def test_a_csv_cell_is_one_name_regardless_of_its_characters(tmp_path):
    path = write(tmp_path, 'video;prefix\n"a;b ""c"", d.mp4";x\n', "jobs.csv")
    assert read(path)[0].config.dataset_dir == ('a;b "c", d.mp4',)


def test_a_value_that_the_system_refuses_as_a_path_names_its_job(tmp_path):
    (tmp_path / "jobs.toml").write_text(f'[[job]]\nvideo = "a.mp4"\ndepth = "{"d" * 300}"\n')
    line = refused(jobs.main, "--jobs", tmp_path / "jobs.toml", "-o", tmp_path / "data")
    assert f"{tmp_path / 'jobs.toml'}: job 1: File name too long: ddd" in line
