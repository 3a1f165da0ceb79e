"""Programs stopped at one line after another of the code that changes files, each begun again afterwards.

`python tests/support/hostile/interrupts.py CASE HOW EVERY FOLDER`: HOW is `interrupt`, as by Ctrl-C, or `kill`, as by
kill -9, which no block of the program notices. With EVERY 1 it happens at each line, with 10 at each tenth.
"""

import atexit
import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from pack.shards import index, shard
from pack.shards.shard import list_shards, read_record
from pack.video.output import join, parts
from pack.video.reader import read_timed
from tests.support.media.stereo_films import H264, pictures
from tests.support.media.videos import film
from tests.support.shards import make_data
from tools import split, transfer
from tools.cli import files, locks
from tools.cli.files import file_sha256
from tools.copying import publishing, upload

ENDED, KILLED = 33, 9  # exit statuses: before the line that would be stopped at, and there


@dataclass(frozen=True)
class Case:
    """A program that changes files, and what must hold whenever it has been stopped."""

    modules: tuple[ModuleType, ...]  # whose lines count
    prepare: Callable[[Path], object]  # makes what the program works on, in a folder
    act: Callable[[Path], object]
    check: Callable[[Path], object]  # after it was stopped
    result: Callable[[Path], object]  # of a program that was begun again, the same as of one that nothing stopped


def stop_at_lines(case: Case, folder: Path, how: str, every: int) -> int:
    """Stop the program at each `every`th line; how many times it was stopped."""
    os.fsync = lambda _: None  # it takes most of the time
    (folder / "source").mkdir(parents=True)
    case.prepare(folder / "source")
    shutil.copytree(folder / "source", folder / "whole", copy_function=shutil.copy)
    case.act(folder / "whole")
    expected, count, status = case.result(folder / "whole"), 0, KILLED
    while status != ENDED:
        place = folder / "stopped"
        shutil.copytree(folder / "source", place, copy_function=shutil.copy)
        pid = os.fork()
        if not pid:
            _stopped(case, place, how, 1 + count * every)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        where = f"{how} at line {1 + count * every}"
        assert status in (ENDED, KILLED), f"{where}: status {status}"
        case.check(place)
        left = [path.name for path in place.rglob("*.tmp")]
        assert how == "kill" or not left, f"{where}: it left {left}"
        case.act(place)
        assert case.result(place) == expected, f"{where}: {case.result(place)}, expected {expected}"
        shutil.rmtree(place)
        count += 1
    return count


def _stopped(case, place, how, line):  # in a process of its own
    names, left = {module.__file__ for module in case.modules}, [line]

    def stop(frame, _event, _argument):
        left[0] -= 1
        if left[0] == 0 and how == "kill":
            os._exit(KILLED)
        if left[0] == 0 and frame.f_code is not files.remove_temporaries.__code__:
            raise KeyboardInterrupt
        return stop

    def trace(frame, *words):
        return stop(frame, *words) if frame.f_code.co_filename in names else None

    if how == "kill":
        threading.settrace(trace)
    sys.settrace(trace)
    with contextlib.suppress(KeyboardInterrupt), open(os.devnull, "w") as sys.stdout:
        case.act(place)
    atexit._run_exitfuncs()  # as Python does at the end, where it also frees all modules, which takes long
    os._exit(KILLED if left[0] <= 0 else ENDED)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small_data(folder):
    make_data(folder / "data", records=3, evaluation=1, frames=1, size=16)


def do_split(folder):
    split.run(split.Config(data_dir=str(folder / "data"), num_samples=1))


def check_records(folder):
    """Every record can be read, in one of the splits or in both."""
    found = set()
    for name in ("train", "eval"):
        for one in list_shards(folder / "data" / name):
            found |= {entry.key for entry in one.records if read_record(one, entry)}
    assert len(found) == 4


def do_pull(folder):
    config = transfer.Config(source=str(folder / "data"), destination=str(folder / "copy"), jobs=1)
    one = transfer.compare(folder / "data" / "train", folder / "copy" / "train")
    transfer.copy([one], config)


def check_copy(folder):
    """What has an index is whole."""
    if any((folder / "copy" / "train").glob("*.json")):
        assert all(file_sha256(one.path) == one.sha256 for one in list_shards(folder / "copy" / "train"))


def write_parts(folder):
    out = folder / "o.mp4"
    if out.exists() and not parts.folder_of(out).exists():  # as `make film` does
        return
    with parts.Parts(out, {}, H264, 20) as found:
        for number, picture in enumerate(pictures(4)):
            if number >= found.finished:
                found.write(Fraction(number, 20), picture)
                if found.pending == 2:
                    found.finish({}, complete=number == 3)
        join.join(found, folder / "a.mkv", [])
        found.remove()


CASES = {
    "split": Case((split, files, shard, index), small_data, do_split, check_records, content),
    "pull": Case((transfer, upload, publishing, files), small_data, do_pull, check_copy, content),
    "parts": Case(
        (parts, join, files, locks),
        lambda folder: film(folder / "a.mkv", 1),
        write_parts,
        lambda folder: None,
        lambda folder: (sorted(content(folder)), [float(one.seconds) for one in read_timed(folder / "o.mp4", 10**6)]),
    ),
}

if __name__ == "__main__":
    case, how, every, where = sys.argv[1:]
    times = stop_at_lines(CASES[case], Path(where), how, int(every))
    print(f"{case}: stopped {times} times ({how}), each time it came to the same end")
