"""Packs the jobs of a file: each row names videos, a prefix, a depth model, a split. Replaces iw3's batch scripts."""

import codecs
import contextlib
import csv
import dataclasses
import io
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pack.config
from tools import cli
from tools.cli import UserError, plural, quoted
from tools.cli.files import read_small
from tools.cli.flags.config_file import read_toml

SETTINGS = {field.name for field in dataclasses.fields(pack.config.Config)} - {"dataset_dir", "data_dir", "dry_run"}
COLUMNS = {"video", "split", *SETTINGS}
INTERRUPTED = (130, 143)  # exit statuses after SIGINT and SIGTERM
MORE = "more cells than columns"


@dataclass(frozen=True)
class Config:
    """Pack every row of a job file; the same command again packs what is missing."""

    jobs: str = ""  # NAME.toml with [[job]] tables, or NAME.csv with column names in its first line
    out: str = "data"  # folder of the splits train/ and eval/
    workers: int = 1  # rows packed at a time; several GPUs are used in turn
    dry_run: bool = False  # print what is done, to do or in conflict, and write nothing

    ALIASES = {"out": ("-o", "--data-dir")}  # noqa: RUF012

    def __post_init__(self):
        if not self.jobs:
            raise UserError("--jobs is missing: pass a job file, such as jobs.toml or jobs.csv")
        if self.workers < 1:
            raise UserError(f"--workers {self.workers} is too small: pass 1 or more")


@dataclass(frozen=True)
class Job:
    """A row of the file, as a configuration of pack/main.py."""

    number: int  # of the row, from 1
    config: pack.config.Config

    @property
    def films(self) -> tuple[str, ...]:
        """What names the videos: paths and patterns, or the exports that hold their pictures."""
        return self.config.dataset_dir or (self.config.depth,)

    @property
    def name(self) -> str:
        return f"job {self.number} ({' '.join(self.films)}, prefix {self.config.prefix or 'none'})"


def main() -> int:
    config = cli.parse(Config)
    jobs = list(read_jobs(Path(config.jobs), Path(config.out)))
    refuse_clashes(jobs)
    with ThreadPoolExecutor(config.workers) as pool:
        statuses = list(pool.map(lambda job: run(job, config), jobs))
    bad = [job.name for job, status in zip(jobs, statuses, strict=True) if status]
    print(f"{len(jobs) - len(bad)} of {plural(len(jobs), 'job')} {'would run' if config.dry_run else 'done'}")
    for name in bad:
        print(f"failed: {name}, see above", file=sys.stderr)
    return int(bool(bad))


def read_jobs(path: Path, out: Path) -> Iterator[Job]:
    """The jobs of a file. Raises UserError, which names the row, for an unknown column or a bad value."""
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path}: lists no job, expected [[job]] tables, or rows below the column names")
    for number, row in enumerate(rows, 1):
        unknown = sorted(set(row) - COLUMNS)
        if unknown or not (row.get("video") or row.get("depth")):
            what = f"an unknown column {unknown[0]}" if unknown else "no video"
            raise UserError(f"{path}: job {number} has {what}, expected video and any of {', '.join(sorted(COLUMNS))}")
        values = [str(part) for value in row.values() for part in (value if isinstance(value, list) else [value])]
        if options := [value for value in values if value.startswith("--")]:
            raise UserError(f"{path}: job {number} has the value {quoted(options[0])}, expected no option: write ./--x")
        split = row.get("split", "train")
        if split not in ("train", "eval"):
            raise UserError(f"{path}: job {number} has the split {quoted(split)}, expected train or eval")
        video = row.get("video") or []
        videos = ["--video", *(video if isinstance(video, list) else [video])] if video else []
        flags = [word for name in sorted(SETTINGS & set(row)) for word in flag(name, row[name])]
        words = [*map(str, videos), "--data-dir", str(out / split), *flags]
        yield Job(number, parse_words(words, f"{path}: job {number}"))


def parse_words(words: list[str], where: str) -> pack.config.Config:
    """The configuration of this command line. Raises UserError, which begins with `where`."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return cli.parse(pack.config.Config, words)
    except SystemExit as error:
        raise UserError(f"{where}: {stderr.getvalue().strip().removeprefix('error: ')}") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the file: each job of a TOML file includes its [defaults]; of a CSV file empty cells are left out."""
    if path.suffix.lower() == ".csv":
        return read_csv(path)
    tables = read_toml(str(path), "--jobs")
    unknown = sorted(set(tables) - {"defaults", "job"})
    if unknown:
        raise UserError(f"{path}: has an unknown table {unknown[0]}, expected [defaults] and [[job]]")
    defaults, rows = tables.get("defaults", {}), tables.get("job", [])
    if not isinstance(defaults, dict) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected [defaults] and [[job]] tables: write job with two brackets")
    return [defaults | row for row in rows]


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file as spreadsheets write it: in UTF-8 or UTF-16, separated by commas, semicolons or tabs.

    Rows without any text are left out.
    """
    data = read_small(path)
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
        head, *rest = text.splitlines(keepends=True) or [""]
        separator = head.strip("\r\n")[4:5] if head[:4].lower() == "sep=" else ""  # a line that is for Excel
        if separator:
            text, head = "".join(rest), "".join(rest[:1])
        separator = separator or max(",;\t", key=head.count)
        rows = csv.DictReader(io.StringIO(text, newline=""), restkey=MORE, delimiter=separator)
        cells = [{str(name).strip().lower(): cell for name, cell in row.items() if cell} for row in rows]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error}): save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path} is not valid CSV ({error}): fix it") from error
    return [row for row in cells if row]


def flag(name: str, value: Any) -> list[str]:
    """A setting as words of a command line; a list is several values, true and false become --x and --no-x."""
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool) or str(value).lower() in ("true", "false"):
        return [option if str(value).lower() == "true" else f"--no-{option[2:]}"]
    return [option, *map(str, value if isinstance(value, list) else [value])]


def refuse_clashes(jobs: list[Job]) -> None:
    """Raise UserError where records of two jobs would have the same keys, in one split or in both."""
    from pack.shards.record import video_key  # imports numpy

    seen: dict[str, Job] = {}
    for job in jobs:
        for pattern in job.films:
            key = video_key(job.config.prefix, job.config.model_name, Path(pattern).name)
            if key in seen:
                raise UserError(
                    f"{seen[key].name} and {job.name} make records with the same keys {key}: "
                    f"give one of them another prefix"
                )
            seen[key] = job


def run(job: Job, config: Config) -> int:
    """Pack a job in a process of its own; returns its exit status.

    Prints the last line of its output or, if it failed, all of it: there may be a traceback.
    """
    settings = job.config
    words = [str(Path(__file__).with_name("main.py")), "-o", settings.data_dir]
    words += ["--video", *settings.dataset_dir] if settings.dataset_dir else []
    default = pack.config.Config(dataset_dir=("video",))
    for name in sorted(SETTINGS):
        if getattr(settings, name) != getattr(default, name):
            value = getattr(settings, name)
            words += flag(name, list(value) if isinstance(value, tuple) else value)
    if config.workers > 1 and settings.device == "auto":
        words += ["--device", device(job.number, config.workers)]
    if config.dry_run:
        words.append("--dry-run")
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = done.stdout.strip()
    if done.returncode:
        print(f"{job.name}:\n{output}", file=sys.stderr, flush=True)
    else:
        print(f"{job.name}: {output.splitlines()[-1]}", flush=True)
    if done.returncode in INTERRUPTED:
        raise KeyboardInterrupt
    return done.returncode


def device(number: int, workers: int) -> str:
    """The device of a job: jobs that run at the same time take the GPUs in turn."""
    import torch  # takes seconds, and only this function needs it

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{(number - 1) % workers % gpus}" if gpus else "cpu"


if __name__ == "__main__":
    cli.run(main)
