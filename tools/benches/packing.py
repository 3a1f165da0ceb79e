"""Packing end to end with the default depth: all cores against one, and the share of each stage."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from unittest import mock

from pack import pipeline
from pack.config import Config
from pack.pipeline import Models
from pack.shards.record import encode
from pack.shards.shard import list_shards
from pack.video.reader import Clip, Report, VideoInfo, probe, read_clips
from pack.workers import LocalRank, load_models
from tools import cli
from tools.benches.case import Case, Gauge, Goal, Race, Workplace, run_program
from tools.benches.records import TINY
from tools.cli import plural
from tools.cli.files import write_file
from tools.cli.machine import usable_cores

CORES = min(16, usable_cores())
DENSE = ("--skip-interval", "0")  # twice as many records as by default
PROFILED = 2  # clips per video


def pack(videos: Sequence[Path], folder: Path, cores: int, words: tuple[str, ...]) -> int:
    """Pack these videos into an empty folder; return the number of records."""
    shutil.rmtree(folder, ignore_errors=True)
    run_program(["pack/main.py", "--video", *videos, "-o", folder, *words], cores)
    return sum(len(shard.records) for shard in list_shards(folder))


def copies(place: Workplace, count: int) -> Iterator[Path]:
    """`count` copies of each clip, under different names."""
    folder = place.folder / "films"
    folder.mkdir(exist_ok=True)
    for clip in place.clips:
        for number in range(count):
            path = folder / f"{clip.stem}{number}{clip.suffix}"
            if not path.exists():
                write_file(path, clip.read_bytes())
            yield path


def prepare_cores(place: Workplace) -> Race:
    words = TINY if place.tiny else DENSE
    processes = max(1, CORES // 2)  # the default of packing
    all_films, films = list(copies(place, processes)), list(copies(place, 1))
    many, one = place.folder / "packed by all", place.folder / "packed by one"
    words = (*words, "--device", "cpu")

    def check() -> None:
        pack(all_films, many, CORES, words)
        pack(films, one, 1, words)
        for shard in list_shards(one):
            assert (many / shard.tar.name).read_bytes() == shard.tar.read_bytes(), f"{shard.tar.name} differs"
        race.notes["share of each stage on one core"] = shares(place, TINY if place.tiny else DENSE)

    race = Race(
        lambda: pack(all_films, many, CORES, words),
        lambda: pack(films, one, 1, words),
        check,
        len(all_films),
        "video",
        reference_count=len(films),
    )
    return race


def prepare_minute(place: Workplace) -> Gauge:
    words, folder = TINY if place.tiny else DENSE, place.folder / "packed in a minute"

    def measure() -> float:
        started = time.perf_counter()
        records = pack(place.clips, folder, 2, (*words, "--device", "cpu"))
        seconds = time.perf_counter() - started
        gauge.notes["packed"] = f"{plural(records, 'record')} in {seconds:.0f} s, including the start of the program"
        return seconds * 40 / records

    gauge = Gauge(measure)
    return gauge


def shares(place: Workplace, words: tuple[str, ...]) -> dict[str, str]:
    """The share of each stage in the CPU time of packing on one core."""
    config = cli.parse(Config, ["--video", *map(str, place.clips), "--device", "cpu", *words])
    models = load_models(config, LocalRank(0, 1))
    spent: Counter = Counter()
    with mock.patch.object(pipeline, "clip_holes", clocked(spent, "holes", pipeline.clip_holes)):
        for path in place.clips:
            clips = read_clips(path, config.seq, config.max_fps, config.skip_first, config.skip_interval, Report())
            with closing(clips):
                for _ in range(PROFILED):
                    profile_clip(spent, clips, probe(path), models, config)
    spent["crops"] -= spent["holes"]  # which are included
    return {stage: f"{seconds / spent.total():.0%}" for stage, seconds in spent.most_common()}


def profile_clip(spent: Counter, clips: Iterator[Clip], video: VideoInfo, models: Models, config: Config) -> None:
    """What pack.packing does with a clip, one stage after the other."""
    clip = clocked(spent, "decoding", next)(clips)
    shaped = clocked(spent, "geometry", next)(pipeline.transform_clips(iter([clip]), video, False, config))
    depth = clocked(spent, "depth", pipeline.clip_depth)(shaped, models, config)
    for record in clocked(spent, "crops", pipeline.make_records)(shaped, depth, video, models, config):
        clocked(spent, "encoding", encode)(record, config.image_format)


def clocked(spent: Counter, stage: str, work: Callable) -> Callable:
    """The function `work`, which adds its CPU seconds to `spent[stage]`."""

    def clocked_work(*arguments):
        started = time.process_time()
        try:
            return work(*arguments)
        finally:
            spent[stage] += time.process_time() - started

    return clocked_work


CASES = (
    Case("packing", "packing 40 records of the clips on two cores", Goal(60, "s", at_most=True), prepare_minute, 3),
    Case(
        "packing-cores",
        f"{CORES} cores with the default number of processes / 1 core; the shards are identical",
        Goal(0.85 * CORES),
        prepare_cores,
        2,
    ),
)
