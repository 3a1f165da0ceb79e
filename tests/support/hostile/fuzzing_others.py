"""Hostile inputs for the readers outside of pack.shards, such as weight files, TOML and job files, and forged tars."""

import contextlib
import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import torch
from hypothesis import strategies as st

from model.checkpoint import read_file
from pack.jobs import read_jobs, refuse_clashes
from pack.shards.index import parse_index
from pack.shards.location import RemotePath
from pack.shards.record import parse_info
from pack.shards.store import list_files
from pack.shards.untrusted import CorruptRecord
from pack.video.export import EXPORT, read_export
from tests.support.hostile.fuzzing import INDEX, RECORD, VALUES, check_tar, damaged
from tests.support.hostile.fuzzing import MEMBERS as RECORD_MEMBERS
from tools.cli import UserError
from tools.cli.flags.config_file import read_config
from tools.cli.flags.fields import read_flags
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


@st.composite
def forged_tars(draw):
    """Tars with what other programs write and a shard never holds: links, sparse files, long names, headers of pax."""
    kinds = [*b"01234567SLKxgV", 0]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=draw(st.sampled_from([0, 1, 2]))) as tar:
        for extension, data in list(RECORD_MEMBERS.items())[: draw(st.integers(0, 3))]:
            info = tarfile.TarInfo(
                draw(st.sampled_from([RECORD.key, RECORD.key, "x" * 200, "../evil", "é"])) + f".{extension}"
            )
            info.size = len(data)
            if draw(st.booleans()):
                names = ("size", "path", "linkpath", "GNU.sparse.realsize", "GNU.sparse.map", "hdrcharset")
                info.pax_headers = {draw(st.sampled_from(names)): draw(st.sampled_from(["0", "-1", "9" * 30, "../x"]))}
            info.linkname = draw(st.sampled_from(["", "../../etc/passwd", "y" * 300]))
            with contextlib.suppress(ValueError):  # a name too long for ustar
                tar.addfile(info, io.BytesIO(data))
    data = bytearray(out.getvalue()[: tar.offset])
    for start in range(0, len(data), 512):
        if data[start + 257 : start + 262] == b"ustar" and draw(st.booleans()):
            data[start + 156] = draw(st.sampled_from(kinds))
            sizes = [
                b"777777777777",
                b"00000000000\0",
                b"\x80" + struct.pack(">3xQ", 1 << 63),
                b"\xff" * 12,
                b"-0000000001\0",
            ]
            data[start + 124 : start + 136] = draw(st.sampled_from([*sizes, bytes(data[start + 124 : start + 136])]))
    return gzip.compress(data, mtime=0) if draw(st.integers(0, 9)) == 0 else bytes(data)


@st.composite
def repeated_fields(draw, original):
    """JSON in which fields are there twice, with other values."""
    fields = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in original.items()]
    for _ in range(draw(st.integers(1, 3))):
        name = json.dumps(draw(st.sampled_from(sorted(original))))
        fields.insert(draw(st.integers(0, len(fields))), f"{name}: {json.dumps(draw(VALUES))}")
    return ("{" + ", ".join(fields) + "}").encode()


def check_repeated(data):
    with contextlib.suppress(UserError):
        index = parse_index(data, Path("a.json"))
        assert index.bytes >= 0 and isinstance(index.config, dict)
    with contextlib.suppress(CorruptRecord):
        parse_info("k", data)


def as_toml(value):
    """A value as TOML, in the types that JSON has none of, too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {as_toml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else "nan"
    return json.dumps(value) if isinstance(value, (bool, str)) else str(value or "1979-05-27T07:32:00Z")


def odd_toml():
    """A configuration with values of other types than its fields have."""
    names = st.sampled_from(["max-epoch", "learning_rate", "data-dir", "learning-rate-decay-step", "resume", "x"])
    return st.dictionaries(names, VALUES).map(
        lambda d: "".join(f"{k} = {as_toml(v)}\n" for k, v in d.items()).encode(errors="replace")
    )


def job_files():
    names = st.sampled_from(["video", "split", "prefix", "seed", "depth", "model_type", "crop_size", "x"])
    rows = st.lists(
        st.dictionaries(names, VALUES | st.sampled_from(["a.mp4", "train", "--help", "a\0b", "-1"])), max_size=3
    )
    toml = rows.map(
        lambda jobs: "\n".join("[[job]]\n" + "".join(f"{k} = {as_toml(v)}\n" for k, v in j.items()) for j in jobs)
    )
    lines = st.lists(st.lists(names | st.text(max_size=6), max_size=4).map(",".join), max_size=4).map("\n".join)
    texts = st.tuples(st.just("jobs.toml"), toml | st.text()) | st.tuples(st.just("jobs.csv"), lines)
    as_bytes = texts.map(lambda file: (file[0], file[1].encode(errors="replace")))
    return as_bytes | st.tuples(st.sampled_from(["jobs.toml", "jobs.csv"]), st.binary())


def check_jobs(folder):
    def check(file):
        (folder / file[0]).write_bytes(file[1])
        with contextlib.suppress(UserError):
            refuse_clashes(list(read_jobs(folder / file[0], folder)))

    return check


def pages():
    """Pages of a web server: links in odd spellings, entities, percent escapes."""
    parts = [
        "a",
        "a.tar",
        ".json",
        "%2e%2e",
        "%2F",
        "/",
        "..",
        "%FF",
        "%",
        "&#0;",
        "&#x2e;",
        "&lt;",
        "&#99999999;",
        "http://[",
        "//",
    ]
    parts += ["http://h/d/", "?C=M", "#", "\\", " ", "\n", "\x1b", "é", "%00", "&amp;"]
    links = st.lists(st.sampled_from(parts), max_size=6).map("".join)
    page = st.lists(st.tuples(st.sampled_from(["'", '"', ""]), links), max_size=6).map(
        lambda found: "".join(f"<a href={quote}{link}{quote}>x</a>" for quote, link in found).encode()
    )
    return page | st.binary() | st.integers(1, 3000).map(lambda n: b"<a " * n + b"href=" + b"<" * n)


def check_page(data):
    from pack.shards import ranged_http, store

    async def read(self, url, headers, limit):
        return data if url.endswith("/") else b""

    async def info(self, url, **_):
        return {"name": url, "size": 1, "type": "file"}

    ranged_http.RangedHttp._read, ranged_http.RangedHttp._info = read, info  # in the process that fuzzes
    store.ATTEMPTS = 1
    with contextlib.suppress(UserError):
        assert not any(
            set(name) & set("/\\\n\x1b\0") or name in ("..", ".") for name in list_files(RemotePath("http://h/d"))
        )


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
        "toml": (damaged([TOML]) | odd_toml() | st.binary(), check_toml(folder)),
        "braces": (braces.map("x/train/{}".format) | st.text(), check_list),
        "forged": (forged_tars(), check_tar),
        "repeated": (repeated_fields(INDEX) | repeated_fields({"hole_share": 0.5, "depth": {}}), check_repeated),
        "jobs": (job_files(), check_jobs(folder)),
        "page": (pages(), check_page),
    }


NAMES = ("braces", "checkpoint", "forged", "jobs", "page", "repeated", "resume", "toml", "yaml")
