"""iw3's export folders: a film as numbered pictures in rgb/, its depth, and iw3_export.yml about both.

Such a folder stands for its film wherever a video is read: a list of its pictures is given to FFmpeg's concat demuxer.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from tools.cli import MissingFile, UserError, quoted
from tools.cli.files import open_file, read_small
from tools.cli.yaml_text import parse_yaml

EXPORT = "iw3_export.yml"  # iw3 writes it last
LONGEST_YAML = 2**22  # bytes: of 400,000 scene boundaries
MICROSECONDS = 10**6


@dataclass(frozen=True)
class Export:
    """What iw3_export.yml says about the folder that it is in."""

    folder: Path
    model_type: str  # "" where it is not stated
    fps: Fraction
    depth_dir: Path
    rgb_dir: Path | None  # None: the frames are those of the film
    audio_file: Path | None
    mapper: str  # to be applied when the depth is used; "" where it is not stated
    is_disparity: bool  # a mapper and the dilation of edges are applied already
    boundaries: frozenset[int]  # numbers of the maps that begin a scene
    is_ours: bool  # written by `make film`: numbers count the film's frames, the range is that of the shot


@dataclass(frozen=True)
class Pictures:
    """The pictures of an export, in order."""

    paths: list[Path]
    numbers: list[int]  # of the files, which their depth shares
    ticks: list[int]  # frames from the first picture to each, ascending
    fps: Fraction

    @property
    def seconds(self) -> list[Fraction]:
        return [tick / self.fps for tick in self.ticks]


def read_export(folder: Path) -> Export:
    """The export in this folder. Raises UserError where iw3_export.yml is missing, damaged or not of a film."""
    path = folder / EXPORT
    if not path.is_file():
        raise MissingFile(
            f"{folder} has depth/ but no {EXPORT}, which iw3 writes last: the export is not finished, run it again"
        )
    found = read_yaml(path)
    if found.get("type") != "video":
        raise UserError(f"{path} describes {_shown(found.get('type'))}, expected the export of a video")
    user_data = _mapping(path, found, "user_data")
    options = _mapping(path, user_data, "export_options")
    skips = bool(found.get("skip_mapper"))
    depth_dir = _inside(folder, _text(path, found, "depth_dir") or "depth")
    rgb_dir, audio_file = _text(path, found, "rgb_dir"), _text(path, found, "audio_file")
    if not depth_dir.is_dir():
        raise MissingFile(f"{path} names the folder {depth_dir} of its depth, which is missing: copy the whole export")
    return Export(
        folder=folder,
        model_type=_text(path, options, "depth_model"),
        fps=_fps(path, found.get("fps")),
        depth_dir=depth_dir,
        rgb_dir=_inside(folder, rgb_dir) if rgb_dir else None,
        audio_file=_inside(folder, audio_file) if audio_file else None,
        mapper="none" if skips else _text(path, found, "mapper"),
        is_disparity=skips,
        boundaries=_numbers(path, user_data.get("scene_boundary")),
        is_ours=bool(user_data.get("backfill")),
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError."""
    if path.stat().st_size > LONGEST_YAML:
        raise UserError(f"{path} has {path.stat().st_size} bytes, expected a short text: export the depth again")
    try:
        with open_file(path) as file:
            found = parse_yaml(file.read().decode())
    except (UserError, UnicodeDecodeError) as error:
        words = str(error) if isinstance(error, UserError) else "is not UTF-8 text"
        raise UserError(f"{path} {words}: export the depth again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no mapping, expected type, fps, depth_dir and others: export the depth again")
    return found


def _shown(value):
    return repr(quoted(value)) if isinstance(value, str) else quoted(value)


def _mapping(path, found, name):
    value = found.get(name) or {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: {name} is {_shown(value)}, expected a mapping: export the depth again")
    return value


def _text(path, found, name):  # "" where it is not stated
    value = found.get(name) or ""
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise UserError(f"{path}: {name} is {_shown(value)}, expected a short text: export the depth again")
    return value


def _inside(folder, name):
    """A file or folder that the YAML names; where that is not in the export, the one of its name beside the YAML."""
    path = folder / name
    is_inside = path.exists() and path.resolve().is_relative_to(folder.resolve())
    return path if is_inside else folder / path.name


def _fps(path: Path, value: Any) -> Fraction:
    # checked before it is converted: Fraction("1e999999999") would take all memory
    if type(value) in (int, float, str) and re.fullmatch(r"\d{1,9}(\.\d{1,20}|/\d{1,9})?", text := quoted(value)):
        try:
            fps = Fraction(text).limit_denominator(1001)
        except ZeroDivisionError:
            fps = Fraction(0)
        if fps > 0:
            return fps
    raise UserError(f"{path}: fps is {_shown(value)}, expected a number or a fraction such as 30000/1001")


def _numbers(path: Path, value: Any) -> frozenset[int]:
    words = str(value).split(",") if type(value) in (str, int) and value != "" else []
    is_list = value is None or type(value) in (str, int)
    if not is_list or not all(re.fullmatch(r" *\d{1,12} *", word) for word in words):
        raise UserError(f"{path}: scene_boundary is {_shown(value)}, expected numbers of frames with commas between")
    return frozenset(map(int, words))


def is_export(path: Path) -> bool:
    return (path / EXPORT).is_file()


def read_pictures(folder: Path) -> Pictures:
    """The pictures of an export. Raises UserError, which says what it lacks."""
    export = read_export(folder)
    if export.rgb_dir is None:
        raise MissingFile(f"{folder} has no pictures (iw3 was run with --export-depth-only): pass the film as --video")
    if not export.rgb_dir.is_dir():
        raise MissingFile(
            f"{folder / EXPORT} names the folder {export.rgb_dir} of its pictures, which is missing: copy the whole "
            f"export, or pass the film as --video"
        )
    numbered = {int(path.stem): path for path in export.rgb_dir.glob("*.png") if path.stem.isdecimal()}
    if not numbered:
        raise MissingFile(f"{export.rgb_dir} holds no picture such as 00000000.png: copy the whole export")
    numbers = sorted(numbered)
    step = min((b - a for a, b in pairwise(numbers)), default=1)
    ticks: list[int] = []
    for number in numbers:
        ticks.append(max(round((number - numbers[0]) / step), ticks[-1] + 1 if ticks else 0))
    return Pictures([numbered[number] for number in numbers], numbers, ticks, export.fps)


def open_pictures(folder: Path) -> av.container.InputContainer:
    """The pictures of an export as a film. Raises UserError."""
    found = read_pictures(folder)
    ends = [*found.ticks[1:], found.ticks[-1] + 1]
    lines = ["ffconcat version 1.0"]
    for path, tick, end in zip(found.paths, found.ticks, ends, strict=True):
        name = f"file:{path.resolve()}".replace("'", r"'\''")
        if not name.isprintable():  # a line of its own would be another entry of the list
            raise UserError(f"{name!r} has a control character: rename the folder of the export")
        lines += [f"file '{name}'", f"option framerate {found.fps}"]
        # rounded sums, not sums of rounded steps: an error would grow to seconds over a film
        lines.append(f"duration {_microseconds(end / found.fps) - _microseconds(tick / found.fps)}us")
    options = {"safe": "0", "protocol_whitelist": "file"}
    return av.open(io.BytesIO("\n".join(lines).encode()), "r", format="concat", options=options)


def _microseconds(seconds: Fraction) -> int:
    return round(seconds * MICROSECONDS)


def sound_of(path: Path, is_wanted: bool = True) -> Path:
    """The file that holds the sound of a film: the film, or what the export of one has beside its pictures."""
    if not path.is_dir() or not is_wanted:
        return path
    audio = read_export(path).audio_file
    if audio is None:
        return path
    if not audio.is_file():
        raise MissingFile(f"{path / EXPORT} names the sound {audio}, which is missing: copy it, or pass --sound none")
    return audio


def listing(source: Path) -> Iterator[tuple[str, int]]:
    """Name and bytes of a file or of each file of a folder, sorted: what identifies it without reading it all."""
    paths = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    for path in paths:
        yield (path.relative_to(source).as_posix() if source.is_dir() else path.name), path.stat().st_size


def digest_of(folder: Path) -> tuple[int, str]:
    """The bytes of an export's pictures, and a digest of its YAML and of their names and sizes."""
    digest, total = hashlib.sha256(read_small(folder / EXPORT)), 0
    for path in read_pictures(folder).paths:
        size = path.stat().st_size
        total += size
        digest.update(f"{path.name}\0{size}\0".encode(errors="surrogateescape"))
    return total, digest.hexdigest()
