"""Packs what a job file lists, a video, prefix, depth model and split a row, as iw3's batch scripts do line by line."""

import contextlib
import csv
import dataclasses
import io
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pack.config
from pack.shards.record import video_key
from tools import cli
from tools.cli import UserError

SETTINGS = {field.name for field in dataclasses.fields(pack.config.Config)} - {"dataset_dir", "data_dir", "dry_run"}
COLUMNS = {"video", "split", *SETTINGS}
INTERRUPTED = (130, 143)


@dataclass(frozen=True)
class Config:
    """Pack every row of a job file, several at a time; the same command again does what is left."""

    jobs: str = ""  # NAME.toml with [[job]] tables, or NAME.csv with a line of column names
    out: str = "data"  # folder that gets the splits
    workers: int = 1  # rows packed at a time, each on its own GPU where there are several
    dry_run: bool = False  # say what is done, what is to do and what clashes, and write nothing

    ALIASES = {"out": ("-o", "--data-dir")}  # noqa: RUF012

    def __post_init__(self):
        if not self.jobs:
            raise UserError("--jobs is missing: name a job file, such as jobs.toml or jobs.csv")
        if self.workers < 1:
            raise UserError(f"--workers {self.workers}: expected 1 or more")


@dataclass(frozen=True)
class Job:
    """A row of the file: what pack/main.py is asked to do."""

    number: int  # in the file, from 1
    config: pack.config.Config

    @property
    def name(self) -> str:
        return f"job {self.number} ({' '.join(self.config.dataset_dir)}, prefix {self.config.prefix or 'none'})"


def main() -> int:
    config = cli.parse(Config)
    jobs = list(read_jobs(Path(config.jobs), Path(config.out)))
    refuse_clashes(jobs)
    with ThreadPoolExecutor(config.workers) as pool:
        statuses = list(pool.map(lambda job: run(job, config), jobs))
    bad = [job.name for job, status in zip(jobs, statuses, strict=True) if status]
    print(f"{len(jobs) - len(bad)} of {len(jobs)} jobs {'would run' if config.dry_run else 'are done'}")
    for name in bad:
        print(f"failed: {name}, see above", file=sys.stderr)
    return int(bool(bad))


def read_jobs(path: Path, out: Path) -> Iterator[Job]:
    """The jobs of a file. Raises UserError, which names the row, for a column or value that packing does not know."""
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path}: lists no job, expected [[job]] tables or lines below the names of the columns")
    for number, row in enumerate(rows, 1):
        unknown = sorted(set(row) - COLUMNS)
        if unknown or not row.get("video"):
            what = f"an unknown column {unknown[0]}" if unknown else "no video"
            raise UserError(f"{path}: job {number} has {what}, expected video and any of {', '.join(sorted(COLUMNS))}")
        split = row.get("split", "train")
        if split not in ("train", "eval"):
            raise UserError(f"{path}: job {number} has the split {split}, expected train or eval")
        videos = row["video"] if isinstance(row["video"], list) else [row["video"]]
        flags = [word for name in sorted(SETTINGS & set(row)) for word in flag(name, row[name])]
        words = ["--video", *map(str, videos), "--data-dir", str(out / split), *flags]
        yield Job(number, parse_words(words, f"{path}: job {number}"))


def parse_words(words: list[str], where: str) -> pack.config.Config:
    """The configuration that these words mean. Raises UserError, which says where they stand."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return cli.parse(pack.config.Config, words)
    except SystemExit as error:
        raise UserError(f"{where}: {told.getvalue().strip().removeprefix('error: ')}") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows as written: [defaults] of TOML stand in each of its jobs, empty cells of CSV are left out."""
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is no TOML ({error}): mend it, or pass NAME.csv") from error
    strangers = sorted(set(tables) - {"defaults", "job"})
    if strangers:
        raise UserError(f"{path}: has an unknown table {strangers[0]}, expected [defaults] and [[job]]")
    return [tables.get("defaults", {}) | row for row in tables.get("job", [])]


def flag(name: str, value: Any) -> list[str]:
    """A setting as it is typed: lists are several values, true and false switch."""
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool) or str(value).lower() in ("true", "false"):
        return [option if str(value).lower() == "true" else f"--no-{option[2:]}"]
    return [option, *map(str, value if isinstance(value, list) else [value])]


def refuse_clashes(jobs: list[Job]) -> None:
    """Raise UserError where two jobs would make records of the same key, in one split or in both."""
    seen: dict[str, Job] = {}
    for job in jobs:
        for pattern in job.config.dataset_dir:
            key = video_key(job.config.prefix, job.config.model_name, Path(pattern).name)
            if key in seen:
                raise UserError(f"{seen[key].name} and {job.name} make the same keys {key}: give one another prefix")
            seen[key] = job


def run(job: Job, config: Config) -> int:
    """Pack a job in a process of its own, and say what came of it; its exit status."""
    settings = job.config
    words = [str(Path(__file__).with_name("main.py")), "--video", *settings.dataset_dir, "-o", settings.data_dir]
    default = pack.config.Config(dataset_dir=settings.dataset_dir)
    for name in sorted(SETTINGS):
        if getattr(settings, name) != getattr(default, name):
            value = getattr(settings, name)
            words += flag(name, list(value) if isinstance(value, tuple) else value)
    if config.workers > 1 and settings.device == "auto":
        words += ["--device", device(job.number, config.workers)]
    if config.dry_run:
        words.append("--dry-run")
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f"{job.name}: {'; '.join(done.stdout.strip().splitlines()[-1:])}", flush=True)
    if done.returncode in INTERRUPTED:
        raise KeyboardInterrupt
    return done.returncode


def device(number: int, workers: int) -> str:
    """Jobs that run beside each other take the GPUs in turn."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{(number - 1) % workers % gpus}" if gpus else "cpu"


if __name__ == "__main__":
    cli.run(main)
