"""The finished parts of a film under way, so that an interrupted conversion goes on where it was.

`NAME.parts` beside the film NAME holds `job.json` (what is converted and how), `00000.mkv`, ... and `progress.npz`,
which is replaced atomically after each part: a part counts if it is listed there. Everything else is a leftover, except
the lock of a conversion that runs.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pack.video.export import digest_of
from pack.video.output.encoder import TIME_BASE, Encoding, PartWriter
from tools.cli import UserError, is_of_machine, quoted
from tools.cli.arrays import check_stored, read_member
from tools.cli.files import check_replaceable, read_small, sync_folder, write_file
from tools.cli.locks import hold

FORMAT = 1
LOCK = "conversion.lock"
JOINED = "joined"  # what the film of all parts is called until it is complete
OURS = re.compile(rf"\d{{5,}}\.mkv|{JOINED}\.\w+|(job\.json|progress\.npz)(\.\d+\.[0-9a-f]{{8}}\.tmp)?")  # file names
BLOCKS, BLOCK_BYTES = 64, 1 << 16  # read of a film to recognise it


class Parts:
    """The parts of a film: those that are finished, and the one that is written.

    with Parts(out, job, encoding, fps) as parts:
        parts.write(seconds, picture)
        parts.finish(state)
    """

    def __init__(self, out: Path, job: Mapping[str, Any], encoding: Encoding, fps: float):
        """The parts of the film `out`, which `job` (plain values by option) describes: no file is written yet.

        Raises UserError where `out` is a device or a pipe.
        """
        check_replaceable(out)
        self.out, self.folder = out, folder_of(out)
        self.job = json.loads(json.dumps({"format": FORMAT, **job}))
        self.encoding, self.rate = encoding, _rate(fps)
        self.counts: list[int] = []  # frames of each finished part
        self.ticks: list[int] = []  # of TIME_BASE: when each frame is shown, those of the part in work too
        self.state: dict[str, np.ndarray] = {}  # what `finish` got last
        self.complete = False
        self.writer: PartWriter | None = None

    def __enter__(self) -> "Parts":
        """Raises UserError where the folder belongs to another film or other options, or another process uses it."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold(lock_of(self.out), self._in_use))
            self._load()
            self.lock = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Finished parts stay unless `remove` was called; what is half written goes."""
        try:
            if self.writer is not None:
                self.writer.__exit__(RuntimeError, None, None)
        finally:
            with contextlib.suppress(OSError):  # the folder was deleted, or holds what is not ours
                self._clear(keep=bool(self.counts))
            self.lock.close()
            if not self.counts:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()

    @property
    def finished(self) -> int:
        """Frames of the film that finished parts hold."""
        return sum(self.counts)

    @property
    def pending(self) -> int:
        """Frames of the part that is written."""
        return len(self.ticks) - self.finished

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{number:05d}.mkv"

    def write(self, seconds: Fraction, picture: np.ndarray) -> None:
        """Append a picture (H W 3), uint8 or in HDR uint16, to the part in work; all of a film have one size."""
        if self.writer is None:
            self.writer = PartWriter(self.path(len(self.counts)), self.encoding, self.rate).__enter__()
        tick = round(seconds / TIME_BASE)
        self.ticks.append(max(tick, self.ticks[-1] + 1) if self.ticks else max(tick, 0))
        self.writer.write(self.ticks[-1], picture)

    def finish(self, state: Mapping[str, np.ndarray], complete: bool = False) -> None:
        """Close the part in work; `state` is what the frames behind it need. The film is `complete` with its last."""
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.__exit__(None, None, None)
            with open(writer.path, "rb") as file:
                os.fsync(file.fileno())
            sync_folder(self.folder)
        counts = [*self.counts, self.pending] if self.pending else self.counts
        arrays: dict[str, Any] = {f"state_{name}": array for name, array in state.items()}
        arrays |= {"counts": np.array(counts, np.int64), "ticks": np.array(self.ticks, np.int64)}
        data = io.BytesIO()
        np.savez(data, complete=np.array(complete), **arrays)
        # before the write: a signal right behind it must not take the part for one that is only half written
        self.counts, self.state, self.complete = counts, dict(state), complete
        write_file(self.folder / "progress.npz", data.getbuffer())

    def remove(self) -> None:
        """Delete all parts, after the film is written."""
        (self.folder / "progress.npz").unlink(missing_ok=True)  # first: from now on the rest are leftovers
        self.counts = []

    def _in_use(self, owner):
        return (
            f"{self.out} is being written by another conversion ({owner}): wait for its end, or pass another OUT (-o)"
        )

    def _load(self):
        job, progress = self.folder / "job.json", self.folder / "progress.npz"
        advice = f"delete {self.folder} to begin anew, or pass another OUT (-o)"
        if foreign := self._foreign():
            raise UserError(
                f"{self.folder} holds {foreign}, which is not of a conversion: move it, or pass another OUT (-o)"
            )
        if not progress.exists():  # no part was finished
            self._clear()
            write_file(job, json.dumps(self.job, indent=1).encode())
            return
        try:
            earlier = read_job(job)
            found = read_arrays(progress)
            counts, ticks = check_progress(found)
        except Exception as error:  # json, zipfile and np.load raise many kinds for a damaged file
            if is_of_machine(error):
                raise
            raise UserError(f"{self.folder} is damaged: {advice}") from error
        if earlier != self.job:
            raise UserError(f"{self.folder} was begun with {self._differences(earlier)}: pass the same, {advice}")
        if sum(counts) != len(ticks) or not all(self.path(n).exists() for n in range(len(counts))):
            raise UserError(f"{self.folder} lacks a part: {advice}")
        self.counts, self.ticks, self.complete = counts, ticks, bool(found["complete"])
        self.state = {name[len("state_") :]: array for name, array in found.items() if name.startswith("state_")}
        self._clear()

    def _differences(self, earlier):
        names = [name for name in {**earlier, **self.job} if earlier.get(name) != self.job.get(name)]
        if "film" in names:
            return "another film"
        if {"format", "versions"} & set(names):
            return "another version of the programs"
        return ", ".join(
            f"--{name.replace('_', '-')} {quoted(earlier.get(name))} instead of {self.job.get(name)}" for name in names
        )

    def _foreign(self):
        """The name of a file that no conversion left here, None where there is none; hidden ones do not count."""
        names = [path.name for path in self.folder.iterdir() if not path.name.startswith(".") and path.name != LOCK]
        films = [name for name in names if name.endswith(".mkv")] if "job.json" not in names else []
        return next((name for name in sorted(names) if not OURS.fullmatch(name)), min(films, default=None))

    def _clear(self, keep=True):
        """Delete our files that are not of a finished part, or all of ours."""
        kept = {self.path(n).name for n in range(len(self.counts))} | {"job.json", "progress.npz"} if keep else set()
        # job.json last: without it films would pass for those of somebody else
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name == "job.json"):
            if path.name not in kept and OURS.fullmatch(path.name):
                path.unlink()


def _rate(fps: float) -> Fraction:
    """The rate as encoders take it: any above 0 (frames may be hours apart), and up to one frame a tick."""
    return min(max(Fraction(fps or 25).limit_denominator(1001), Fraction(1, 1001)), 1 / TIME_BASE)


def folder_of(out: Path) -> Path:
    """The folder of the parts of a film."""
    return out.with_name(out.name + ".parts")


def lock_of(out: Path) -> Path:
    """The lock of the conversion that writes a film."""
    return folder_of(out) / LOCK


def read_job(path: Path) -> dict[str, Any]:
    """What job.json describes. Raises ValueError or OSError."""
    found = json.loads(read_small(path))
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    return found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of progress.npz. Raises many kinds of errors where it is damaged."""
    with zipfile.ZipFile(path) as archive:
        check_stored(archive, path.stat().st_size)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: read_member(arrays, name) for name in arrays.files}


def check_progress(found: dict[str, np.ndarray]) -> tuple[list[int], list[int]]:
    """The frames of each part and the ticks of all frames. Raises ValueError where they are not such."""
    counts, ticks = found["counts"], found["ticks"]
    whole = counts.ndim == ticks.ndim == 1 and counts.dtype == ticks.dtype == np.int64
    if not whole or (counts < 1).any() or (ticks < 0).any() or (np.diff(ticks) < 1).any():
        raise ValueError("expected numbers of frames, and times that ascend")
    if found["complete"].shape != () or found["complete"].dtype != bool:
        raise ValueError("expected whether the film is complete")
    return counts.tolist(), ticks.tolist()


def fingerprint(path: Path) -> str:
    """A digest of a film's size and of some blocks of it, by which it is recognised without reading all of it."""
    if path.is_dir():
        return digest_of(path)[1]
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for number in range(BLOCKS + 1):
            file.seek(max(size - BLOCK_BYTES, 0) * number // BLOCKS)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
