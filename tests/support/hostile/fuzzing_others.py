"""Hostile inputs for the readers outside of pack.shards: weight files, resume files, YAML, TOML, lists with braces."""

import contextlib
import io
import json
import zipfile
from pathlib import Path

import torch
from hypothesis import strategies as st

from model.checkpoint import read_file
from pack.video.export import EXPORT, read_export
from tests.support.hostile.fuzzing import VALUES, damaged
from tools.cli import UserError
from tools.cli.config_file import read_config
from tools.cli.fields import read_flags
from tools.lineage.made_of import as_lines, lineage_of, seen_in_training
from train.checkpoints.fields import check_fields
from train.checkpoints.state import VERSION, Position, as_payload
from train.config import Config
from train.data import sources

YAML = b"""type: video
fps: 30000/1001
depth_dir: depth
mapper: none
user_data:
  scene_boundary: 00000012,00000040
  export_options: {depth_model: VDA_L}
"""
TOML = b"""max-epoch = 6
learning_rate = 1e-4
data-dir = "data"
learning-rate-decay-step = [1, 2]
resume = true
"""
DATA = {"fingerprint": "a", "eval_fingerprint": "", "shards": [["a", "b", 3, 1]]}
RESUME = {
    "state_dict": {"weight": torch.zeros(2)},
    "kwargs": {},
    "train_kwargs": {"lineage": {"sources": [{"video": "a", "holes": {"forward": 1.0}, "records": 3}], "steps": 3}},
    "optimizer_state_dict": [{}],
    "grad_scaler_state_dict": [{}],
    "backfill": as_payload(Position("20260101000000", 1), DATA),
}


def saved(payload):
    out = io.BytesIO()
    torch.save(payload, out)
    return out.getvalue()


FILE = saved({"a": torch.zeros(3), "b": [1, 0.5, "text"], "c": torch.ones(2, dtype=torch.int64)})
with zipfile.ZipFile(io.BytesIO(FILE)) as _archive:
    MEMBERS = {name: _archive.read(name) for name in _archive.namelist()}
PICKLE = next(name for name in MEMBERS if name.endswith("data.pkl"))


def zipped(data):
    """A weight file whose pickle is `data`, with right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, member in MEMBERS.items():
            archive.writestr(name, data if name == PICKLE else member)
    return out.getvalue()


@st.composite
def odd_values(draw, original, values):
    """Nested dicts in which some values are replaced."""
    found = dict(original)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(found)))
        inner = found[name]
        is_dict = isinstance(inner, dict) and inner and all(isinstance(key, str) for key in inner)
        found[name] = draw(odd_values(inner, values)) if is_dict and draw(st.booleans()) else draw(values)
    return found


def check_file(folder):
    def check(data):
        (folder / "x.pth").write_bytes(data)
        with contextlib.suppress(UserError):
            assert isinstance(read_file(folder / "x.pth"), dict)

    return check


def check_resume(saved):
    with contextlib.suppress(UserError):
        check_fields(saved, Path("x.pth"), VERSION)
    found = lineage_of(saved)
    assert all(line.isprintable() for line in as_lines(found)) and json.dumps(found, allow_nan=False)
    seen_in_training(found, [{"sha256_of_ends": "a"}])


def check_yaml(folder):
    (folder / "depth").mkdir(exist_ok=True)

    def check(data):
        (folder / EXPORT).write_bytes(data)
        with contextlib.suppress(UserError):
            assert read_export(folder).fps > 0

    return check


def check_toml(folder):
    flags = read_flags(Config)

    def check(data):
        (folder / "x.toml").write_bytes(data)
        with contextlib.suppress(UserError):
            Config(**read_config(str(folder / "x.toml"), flags))

    return check


def check_list(text):
    sources.MOST_SHARDS = 1000  # in the process that fuzzes: a list of a million takes seconds
    with contextlib.suppress(UserError):
        assert len(sources.expand(text)) <= 1000


def readers(folder):
    """By name, the inputs of a reader and what must hold for each."""
    tensors = st.sampled_from([torch.zeros(2), torch.tensor(float("nan")), torch.zeros(1, dtype=torch.bool)])
    braces = st.lists(st.sampled_from([*"{},.-a", "..", "0", "9", "99", "train/", ".tar"]), max_size=16).map("".join)
    return {
        "checkpoint": (damaged([MEMBERS[PICKLE]]).map(zipped) | damaged([FILE]), check_file(folder)),
        "resume": (odd_values(RESUME, VALUES | tensors), check_resume),
        "yaml": (damaged([YAML]) | st.binary(), check_yaml(folder)),
        "toml": (damaged([TOML]) | st.binary(), check_toml(folder)),
        "braces": (braces.map("x/train/{}".format) | st.text(), check_list),
    }


NAMES = ("braces", "checkpoint", "resume", "toml", "yaml")
