"""Hostile inputs for readers of depth, film headers, folders of conversions and trainings, and files of iw3."""

import contextlib
import io
import json
import math
import struct
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from pack.depth.files import read_map
from pack.video.headers import Header, parse_header
from pack.video.output.parts import Parts
from tests.support.hostile.fuzzing import VALUES, damaged
from tests.support.hostile.fuzzing_others import as_toml
from tests.support.media.stereo_films import H264
from tools.cli import UserError
from tools.film.tune import losses
from tools.film.work import Work
from tools.installing.entries import has_variable, with_entry, with_variable, without_entry, without_variable
from tools.sweep.plan import read_sweep
from tools.synthesis.confidence import load_confidence
from tools.synthesis.views import ShotState
from train.data.quarantine import read_quarantine
from train.summary import earlier_seconds

CALIBRATION = {"version": 1, "weights": [0.5] * 7, "network": "a"}
BAD_RECORD = {"key": "a_1_0", "shard": "a.tar", "reason": "its crc32 is wrong"}
PATH = "/nunif/iw3/pretrained_models/backfill.pth"
YAML = b"# mine\nbase: &b  # good\n  video: x.pth\nother:\n  <<: *b\n  image: 'y'\n"
FLOW = b"{a: {video: x},  # good\n b: {image: y}}\n"
SOURCE = b'import os\nVIDEO_MODEL_URL = "https://example.org/" \\\n    "a.pth"  # the default\nA = "b"\n'
STATE = {
    "start": np.array(16),
    "low": np.array(0.5, np.float32),
    "high": np.array(1.5, np.float32),
    "ahead": np.zeros((4, 1, 2, 3), np.float32),
    "nearness": np.zeros((3, 1, 2, 3), np.float32),
}
PROGRESS = {"counts": np.array([3]), "ticks": np.array([0, 1, 2]), "complete": np.array(False)}


def saved(array=None, **arrays):
    out = io.BytesIO()
    if array is None:
        np.savez(out, **arrays)
    else:
        np.save(out, array)
    return out.getvalue()


def grey():
    out = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 999).save(out, format="PNG")
    return out.getvalue()


def box(kind, *parts):
    data = b"".join(parts)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def element(kind, *parts):
    data = b"".join(parts)
    return bytes.fromhex(kind) + (0x4000 | len(data)).to_bytes(2) + data


CLAP = box(b"clap", struct.pack(">8i", 60, 1, 40, 1, 0, 1, 0, 1))
ENTRY = box(b"avc1", bytes(24), struct.pack(">HH", 64, 48), bytes(50), CLAP, box(b"dvcC", bytes([1, 0, 16, 0, 16])))
TRACK = box(b"trak", box(b"tkhd", bytes(12), struct.pack(">I", 1)), box(b"mdia", box(b"stsd", bytes(8), ENTRY)))
MP4 = box(b"ftyp", b"isom") + box(b"moov", TRACK)
VIDEO = element("ae", element("83", b"\1"), element("e0", element("54bb", b"\4"), element("54aa", b"\4")))
MATROSKA = element("1a45dfa3") + element("18538067", element("1654ae6b", VIDEO))
NESTED = st.integers(1, 4000).map(lambda n: b"".join(struct.pack(">I4s", 8 * (n - i), b"moov") for i in range(n)))


def json_of(original):
    """An object with some other values, as JSON that is sometimes damaged or nested."""
    odd = st.dictionaries(st.sampled_from(sorted(original)), VALUES | st.just(10**400)).map(lambda d: {**original, **d})
    texts = odd.map(lambda value: json.dumps(value).encode())
    return texts | damaged([json.dumps(original).encode()]) | st.integers(1, 5000).map(lambda n: b"[" * n + b"]" * n)


@st.composite
def arrays(draw, original):
    """Arrays of which some have another shape or type, or are missing."""
    found = dict(original)
    for name in draw(st.lists(st.sampled_from(sorted(original)), max_size=2)):
        shape = draw(st.sampled_from([(), (0,), (2,), (1, 1), (2, 1, 2, 3), (1, 3, 2, 2)]))
        kind = draw(st.sampled_from([np.int64, np.float32, np.float64, bool, "U3", "S2", "M8[s]", np.uint8, None]))
        if kind is None:
            found.pop(name, None)
        else:
            found[name] = np.full(shape, draw(st.sampled_from([0, 1, -1, 7])), np.int64).astype(kind)
    return found


def check_header(data):
    for track in (1, None):
        assert isinstance(parse_header(io.BytesIO(data), track, 0), Header)


def check_map(folder):
    def check(file):
        (folder / file[0]).write_bytes(file[1])
        with contextlib.suppress(UserError):
            assert read_map(folder / file[0]).dtype == np.float32

    return check


def check_state(arrays):
    with contextlib.suppress(UserError):
        found = ShotState.from_arrays(arrays, torch.device("cpu"))
        assert 0 <= found.around <= found.context and found.start >= 0


def check_parts(folder):
    parts = folder / "o.mp4.parts"

    def check(files):
        parts.mkdir(exist_ok=True)
        (parts / "00000.mkv").touch()
        (parts / "job.json").write_bytes(files[0])
        (parts / "progress.npz").write_bytes(files[1])
        with contextlib.suppress(UserError), Parts(folder / "o.mp4", {"a": 1}, H264, 25) as found:
            assert sum(found.counts) == len(found.ticks)

    return check


def check_texts(folder):
    """The readers of small files that trainings and `make film` write."""
    work, path = Work(folder), folder / "x.json"

    def check(data):
        path.write_bytes(data)
        assert 0 <= earlier_seconds(path, "20260101000000") < math.inf
        for read in (lambda: work.read("x"), lambda: load_confidence(path), lambda: read_quarantine(path)):
            with contextlib.suppress(UserError):
                read()
        (folder / "loss_1.csv").write_bytes(data)
        assert all(isinstance(loss, float) for loss in losses(folder))

    return check


def check_entries(data):
    with contextlib.suppress(UserError, UnicodeDecodeError):
        text = data.decode()
        there = with_entry(text, "backfill", PATH, "f")
        without_entry(there, "backfill", PATH, "f")


def check_variable(data):
    with contextlib.suppress(UserError, UnicodeDecodeError):
        text = data.decode()
        if has_variable(text, "f"):
            assert without_variable(with_variable(text, PATH, "f"), PATH, "f") == text


def check_sweep(folder):
    def check(data):
        (folder / "x.toml").write_bytes(data)
        with contextlib.suppress(UserError):
            sweep = read_sweep(str(folder / "x.toml"))
            assert all(sweep.config_path(run).parent == sweep.out for run in sweep.runs)

    return check


def sweeps():
    names = st.sampled_from(["loss", "learning-rate", "max-epoch", "data-dir", "name", "seed"])
    table = st.dictionaries(names, VALUES | st.sampled_from(["hole_l1", "../x", 1, 0.1]), max_size=2)
    tables = {"flags": table, "grid": table | st.dictionaries(names, st.lists(VALUES, max_size=3)), "evaluate": table}
    tables |= {"runs": st.lists(table, max_size=3), "processes": VALUES | st.integers(0, 3), "out": VALUES}
    odd = st.fixed_dictionaries({}, optional=tables)
    return odd.map(lambda d: "".join(f"{k} = {as_toml(v)}\n" for k, v in d.items()).encode(errors="replace"))


def readers(folder):
    """By name, the inputs of a reader and what must hold for each."""
    folder = folder and Path(folder)
    map_ = np.arange(12, dtype=np.float32).reshape(3, 4)
    files = [("x.npy", saved(map_)), ("x.npz", saved(depth=map_)), ("x.npz", saved(a=map_, b=map_)), ("x.png", grey())]
    summary = {"run_id": "20260101000000", "seconds": 3.5}
    texts = json_of(summary) | json_of(CALIBRATION) | json_of(BAD_RECORD) | damaged([b"1,0.5,0.25\n2,,nan\n"])
    progress = arrays(PROGRESS | {f"state_{name}": array for name, array in STATE.items()}).map(lambda a: saved(**a))
    job = json.dumps({"format": 1, "a": 1}).encode()
    return {
        "header": (damaged([MP4, MATROSKA]) | NESTED | st.binary(), check_header),
        "map": (st.sampled_from(files).flatmap(lambda f: st.tuples(st.just(f[0]), damaged([f[1]]))), check_map(folder)),
        "state": (arrays(STATE), check_state),
        "parts": (
            st.tuples(json_of({"format": 1}) | st.just(job), progress | damaged([saved(**PROGRESS)])),
            check_parts(folder),
        ),
        "texts": (texts | st.binary(), check_texts(folder)),
        "entries": (damaged([YAML, FLOW]) | st.text().map(lambda text: text.encode(errors="replace")), check_entries),
        "variable": (damaged([SOURCE]), check_variable),
        "sweep": (sweeps() | st.binary(), check_sweep(folder)),
    }


NAMES = ("entries", "header", "map", "parts", "state", "sweep", "texts", "variable")
