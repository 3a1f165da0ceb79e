"""The weight format: what iw3 needs to find in a file, what is refused and why, and that files appear whole."""

import io
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections import OrderedDict
from datetime import datetime

import numpy as np
import pytest
import torch

from model.checkpoint import (
    create_network,
    describe,
    load_network,
    load_weights,
    read_file,
    save_network,
    write_checkpoint,
)
from model.light_video_inpaint import NAMES, LightVideoInpaint
from tools.cli import UserError

SMALL = "inpaint.light_video_inpaint_v1"


def tiny(seed=0, **kwargs):
    return LightVideoInpaint(**{"base_dim": 8, **kwargs}, generator=torch.Generator().manual_seed(seed))


def same_weights(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def one_line(error):
    return "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_layout_that_iw3_reads(tmp_path, name):
    save_network(tmp_path / "x.pth", create_network(name), {"lr": 1e-4, "crops": (256, 256), "arch": name})
    payload = torch.load(tmp_path / "x.pth", weights_only=True)
    assert list(payload) == ["nunif_model", "name", "updated_at", "kwargs", "train_kwargs", "state_dict"]
    assert payload["nunif_model"] == 1 and payload["name"] == name
    assert payload["kwargs"] == NAMES[name] and payload["train_kwargs"]["lr"] == 1e-4
    assert datetime.fromisoformat(payload["updated_at"]).utcoffset().total_seconds() == 0
    weights = payload["state_dict"]
    assert isinstance(weights, OrderedDict) and len(weights) == 93
    assert all(v.dtype == torch.float32 and v.is_contiguous() for v in weights.values())


def test_the_small_alias_is_the_base_network_and_never_in_a_file(tmp_path):
    net = create_network(f"{SMALL}_small")
    save_network(tmp_path / "x.pth", net)
    assert net.kwargs == NAMES[SMALL] and read_file(tmp_path / "x.pth")["name"] == SMALL


def test_a_network_of_another_size_goes_by_the_base_name_and_its_kwargs(tmp_path):
    net = tiny(lv2_mlp_ratio=2)
    save_network(tmp_path / "x.pth", net)
    assert read_file(tmp_path / "x.pth")["name"] == SMALL
    assert load_network(tmp_path / "x.pth").kwargs == net.kwargs


def test_a_loaded_network_has_the_saved_weights_and_is_in_eval_mode(tmp_path):
    net = tiny()
    save_network(tmp_path / "x.pth", net)
    before = torch.get_rng_state()
    loaded = load_network(tmp_path / "x.pth")
    assert same_weights(net, loaded) and not loaded.training
    assert torch.equal(torch.get_rng_state(), before)
    frames = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 1, 40, 40, dtype=torch.bool)
    mask[..., 10:20, 15:25] = True
    assert torch.equal(net.eval().infer(frames, mask), loaded.infer(frames, mask))


def test_weights_of_a_half_precision_network_are_written_as_float32(tmp_path):
    save_network(tmp_path / "x.pth", tiny().half())
    assert {v.dtype for v in read_file(tmp_path / "x.pth")["state_dict"].values()} == {torch.float32}


@pytest.mark.parametrize("load", ["network", "weights"])
def test_a_training_checkpoint_of_iw3_loads_as_weights(tmp_path, load):
    net = tiny()
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.step()
    extra = {
        "optimizer_state_dict": [optimizer.state_dict()],
        "scheduler_state_dict": [],
        "grad_scaler_state_dict": [{}],
        "best_loss": 0.5,
        "last_epoch": 3,
    }
    torch.save(describe(net, {"lr": 1e-4}) | extra, tmp_path / "x.checkpoint.pth")
    if load == "network":
        other = load_network(tmp_path / "x.checkpoint.pth")
    else:
        other = tiny(seed=1)
        load_weights(other, tmp_path / "x.checkpoint.pth")
    assert same_weights(net, other)


def test_weights_of_another_architecture_are_refused_and_both_are_named(tmp_path):
    save_network(tmp_path / "x.pth", tiny())
    net = tiny(base_dim=16)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(UserError, match=r"x\.pth.*'base_dim': 8.*expected.*'base_dim': 16.*mask_bias") as error:
        load_weights(net, tmp_path / "x.pth")
    assert one_line(error) and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "sbs.mask_mlbw_l2"}, "holds 'sbs.mask_mlbw_l2', expected one of inpaint.light"),
        ({"kwargs": {"dim": 3}}, "expected base_dim and lv2_mlp_ratio"),
        ({"kwargs": {"base_dim": 16, "lv2_mlp_ratio": 1}}, "pass weights of the same network"),
        ({"kwargs": {"base_dim": 10**9, "lv2_mlp_ratio": 1}}, "at most 1024 and 16"),
        ({"kwargs": {"base_dim": "8", "lv2_mlp_ratio": 1}}, "at most 1024 and 16"),
        ({"name": ["inpaint"]}, "expected one of inpaint.light"),
        ({"state_dict": None}, "no state_dict"),
        ({"state_dict": {k: v.to_sparse() for k, v in tiny().state_dict().items()}}, "not a dense tensor"),
        ({"state_dict": {k: v.to("meta") for k, v in tiny().state_dict().items()}}, "not a dense tensor"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, change, words):
    write_checkpoint(tmp_path / "x.pth", describe(tiny()) | change)
    with pytest.raises(UserError, match=words) as error:
        load_network(tmp_path / "x.pth")
    assert one_line(error)


def test_an_unknown_name_is_refused_with_the_names_that_exist():
    with pytest.raises(UserError, match=f"unknown network 'small': pass one of {SMALL}") as error:
        create_network("small")
    assert one_line(error)


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "empty":
        data.clear()
    elif how == "text":
        data[:] = b"<html>404</html>"
    elif how == "truncated":
        del data[len(data) // 2 :]
    elif how == "one bit":
        data[len(data) // 2] ^= 1
    elif how == "no zip":
        data[:] = pickle.dumps({"state_dict": {}})
    elif how == "another zip":
        archive = io.BytesIO()
        np.savez(archive, state_dict=np.zeros(3))
        data[:] = archive.getvalue()
    elif how == "a name":  # of the last member, of which one byte is no longer UTF-8
        data[data.rindex(b"PK\x01\x02") + 50] |= 0x80
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["empty", "text", "truncated", "one bit", "no zip", "another zip", "a name"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, how):
    save_network(tmp_path / "x.pth", tiny())
    damage(tmp_path / "x.pth", how)
    with pytest.raises(UserError, match=r"x\.pth (is not a checkpoint|cannot be read).*copy it again") as error:
        read_file(tmp_path / "x.pth")
    assert one_line(error)


@pytest.mark.parametrize(
    "error",
    [
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        struct.error,
        zlib.error,
    ],
)
def test_whatever_the_library_raises_for_an_altered_file_is_one_line(tmp_path, monkeypatch, error):
    save_network(tmp_path / "x.pth", tiny())

    def fail(*_, **__):
        raise error("of the file")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(UserError, match=r"x\.pth cannot be read as a checkpoint \(.*of the file.*\): copy it again"):
        read_file(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02.",  # nothing on the stack
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(tR.",  # a tensor without arguments
        b"\x80\x02" + b"]" * 3 + b"\x8b\xff\xff\xff\x7f.",  # a number of 2 GB
        b"\x80\x02}h\x05s.",  # a value that was never stored
        b"\x80\x02}(K\x01Q.",  # a storage that is a number
    ],
)
def test_an_archive_with_an_altered_pickle_is_one_line(tmp_path, program):
    save_network(tmp_path / "whole.pth", tiny())
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "x.pth", "w") as altered:
        for name in whole.namelist():
            altered.writestr(name, program if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(UserError, match=r"x\.pth (cannot be read|holds more than tensors)"):
        read_file(tmp_path / "x.pth")


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Exploit()}, "x.pth")
    with pytest.raises(UserError, match=r"x\.pth holds more than tensors and plain values") as error:
        load_network("x.pth")
    assert one_line(error) and not os.path.exists("exploited")


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        read_file(tmp_path / "missing.pth")
    with pytest.raises(UserError, match=r"is a folder, expected a weight file .* name a \.pth file in it"):
        read_file(tmp_path)


def test_a_full_disk_leaves_the_earlier_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "x.pth"
    write_checkpoint(path, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint(path, {"step": 2, "weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["x.pth"] and read_file(path) == {"step": 1}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_before_the_rename_leaves_the_earlier_file(tmp_path, monkeypatch, call):
    path = tmp_path / "x.pth"
    write_checkpoint(path, {"step": 1})

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, {"step": 2})
    assert os.listdir(tmp_path) == ["x.pth"] and read_file(path) == {"step": 1}


def test_the_bytes_are_on_the_disk_before_the_name_points_to_them(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: calls.append(name) or real(*a))
    write_checkpoint(tmp_path / "x.pth", {"step": 1})
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_in_one_line(tmp_path, bad):
    net = tiny()
    with torch.no_grad():
        net.mask_bias[0, 0] = bad
    save_network(tmp_path / "x.pth", net)
    for load in (load_network, lambda path: load_weights(tiny(), path)):
        with pytest.raises(UserError, match=r"x.pth: mask_bias holds NaN or infinity: use an earlier") as error:
            load(tmp_path / "x.pth")
        assert one_line(error)


def test_the_averages_of_a_checkpoint_are_used_unless_raw_weights_are_asked_for(tmp_path):
    raw, averaged = (LightVideoInpaint(base_dim=16, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    for place in ({"averages": averaged.state_dict()}, {"ema": {"weights": averaged.state_dict()}}):
        write_checkpoint(tmp_path / "a.pth", describe(raw) | {"backfill": place})
        for wanted, network in (("averaged", averaged), ("raw", raw)):
            found = load_network(tmp_path / "a.pth", weights=wanted).state_dict()
            assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
        copy = LightVideoInpaint(base_dim=16)
        load_weights(copy, tmp_path / "a.pth")
        assert all(torch.equal(copy.state_dict()[name], value) for name, value in averaged.state_dict().items())
