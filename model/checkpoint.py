"""The weight format of iw3: a torch.save file of one plain dict, read with weights_only=True.

A weight file holds, in this order: nunif_model (1), name, updated_at, kwargs, train_kwargs, state_dict (93 float32
tensors). A training checkpoint may hold more. Files may come from untrusted sources: any defect of one is a UserError.
"""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeGuard

import torch

from model.light_video_inpaint import NAMES, Init, LightVideoInpaint
from model.payload import check_payload
from tools.cli import MissingFile, UserError, is_shortage, one_line, quoted
from tools.cli.arrays import check_stored
from tools.cli.files import open_file, write_file

BASE_NAME = "inpaint.light_video_inpaint_v1"
BASE_FILE = Path(__file__).parent / "base" / f"{BASE_NAME}.pth"
ALIASES = {f"{BASE_NAME}_small": BASE_NAME}  # for the command line; never appears in a file
LARGEST = {"base_dim": 1024, "lv2_mlp_ratio": 16}  # a larger file would only fill the memory


def create_network(name: str, init: Init = "copy", generator: torch.Generator | None = None) -> LightVideoInpaint:
    """A new network of this name, in train mode, with random weights from the generator."""
    name = ALIASES.get(name, name)
    if name not in NAMES:
        raise UserError(f"unknown network {name!r}: pass one of {', '.join([*NAMES, *ALIASES])}")
    return LightVideoInpaint(**NAMES[name], init=init, generator=generator)


def load_network(
    path: str | Path, device: torch.device | str = "cpu", weights: Literal["averaged", "raw"] = "averaged"
) -> LightVideoInpaint:
    """The network of a weight file or training checkpoint, iw3's or ours, in eval mode.

    A checkpoint that averages its weights gives the averages, which evaluation used, unless `weights` is "raw".
    Raises FileNotFoundError, or UserError for a file that is damaged or holds something else.
    """
    payload = read_file(path)
    name = payload.get("name")
    if not isinstance(name, str) or name not in NAMES:
        raise UserError(
            f"{path} holds {quoted(name)!r}, expected one of {', '.join(NAMES)}: pass a file of inpainting weights"
        )
    kwargs = payload.get("kwargs")
    if not _are_kwargs(kwargs):
        raise UserError(
            f"{path} has kwargs {quoted(kwargs)}, expected {' and '.join(LARGEST)} of at least 1 and at most "
            f"{' and '.join(map(str, LARGEST.values()))}: download or copy the file again"
        )
    # a generator of its own, because the random weights are replaced: the global random state stays as it is
    net = LightVideoInpaint(kwargs["base_dim"], kwargs["lv2_mlp_ratio"], generator=torch.Generator())
    _fill(net, payload if weights == "raw" else _averaged(payload), path)
    return net.to(device).eval()


def load_weights(net: torch.nn.Module, path: str | Path) -> None:
    """Copy the weights of a weight file or training checkpoint, iw3's or ours, into an existing network.

    A checkpoint that averages its weights gives the averages.
    Raises FileNotFoundError, or UserError for a file that is damaged or of another architecture.
    """
    _fill(net, _averaged(read_file(path)), path)


def save_network(path: str | Path, net: LightVideoInpaint, train_kwargs: dict | None = None) -> None:
    """Write a weight file that iw3 loads; train_kwargs are plain values that describe how the network was trained."""
    write_checkpoint(path, describe(net, train_kwargs))


def describe(net: LightVideoInpaint, train_kwargs: dict | None = None) -> dict:
    """The dict of a weight file; a training checkpoint holds it and more."""
    weights = OrderedDict((k, v.detach().to("cpu", torch.float32).contiguous()) for k, v in net.state_dict().items())
    return {
        "nunif_model": 1,
        "name": network_name(net),
        "updated_at": str(datetime.now(UTC)),
        "kwargs": dict(net.kwargs),
        "train_kwargs": train_kwargs,
        "state_dict": weights,
    }


def network_name(net: LightVideoInpaint) -> str:
    """The network's name in files; one of a size that has no name gets the base name, its kwargs give the size."""
    return next((name for name, kwargs in NAMES.items() if kwargs == net.kwargs), BASE_NAME)


def locate(path: str | Path) -> Path:
    """The path of a weight file; "base" comes with the project, see model/base/README.md."""
    return BASE_FILE if str(path) == "base" else Path(path)


def read_file(path: str | Path) -> dict:
    """The dict of a file that torch.save wrote, or of an included one, with tensors on the CPU and CRCs checked.

    Raises MissingFile, or UserError for a file that is truncated, altered or something else.
    """
    path, advice = locate(path), "copy it again or use an earlier one"
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected a weight file or a training checkpoint: name a .pth file in it")
    if not path.exists():
        raise MissingFile(f"{path}: no such file, expected a weight file or a training checkpoint: check the path")
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not _is_archive(file):
            raise UserError(f"{path} is not a checkpoint or is truncated ({size} bytes): {advice}")
        try:
            archive = zipfile.ZipFile(file)
            check_stored(archive, size)
            damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{quoted(damaged)} does not match its checksum")
            file.seek(0)
            payload = torch.load(file, map_location="cpu", weights_only=True)
            if isinstance(payload, dict):
                check_payload(payload)
                averages(payload)
        except pickle.UnpicklingError:
            raise UserError(f"{path} holds more than tensors and plain values: pass a weight file") from None
        except Exception as error:  # zipfile and torch.load raise nearly every kind for a file that was altered
            if is_shortage(error):
                raise
            reason = one_line(error) or type(error).__name__
            raise UserError(f"{path} cannot be read as a checkpoint ({reason}): {advice}") from error
    if not isinstance(payload, dict):
        raise UserError(f"{path} holds a {type(payload).__name__}, expected a dict: pass a weight file")
    return payload


def _is_archive(file):
    try:
        return zipfile.is_zipfile(file)
    except zipfile.BadZipFile:  # an archive whose end is altered, as ZipFile says
        return True


def write_checkpoint(path: str | Path, payload: dict) -> None:
    """Write a dict of tensors and plain values atomically: after an error the path holds what it held before.

    Raises OSError, for example when the disk is full; no temporary file is left behind.
    """
    data = io.BytesIO()  # on a full disk torch.save itself would raise a RuntimeError, which hides the OSError
    torch.save(payload, data)
    write_file(path, data.getbuffer())


def first_not_finite(weights: dict[str, torch.Tensor]) -> str | None:
    """The name of the first weight that holds NaN or infinity."""
    return next((name for name, weight in weights.items() if not weight.isfinite().all()), None)


def averages(payload: dict) -> dict[str, torch.Tensor]:
    """The averaged weights of a training checkpoint, by --ema-model or by a schedule-free optimizer; else empty.

    Raises UserError where they are something else than weights by name.
    """
    ours = payload.get("backfill")
    if not isinstance(ours, dict):
        return {}
    ema = ours.get("ema")
    for found in (ema.get("weights") if isinstance(ema, dict) else None, ours.get("averages")):
        if not isinstance(found, dict | None):
            raise UserError("its averaged weights are not weights by name")
        if found:
            return found
    return {}


def which_weights(path: str | Path, weights: Literal["averaged", "raw"] = "averaged") -> str:
    """Which of its weights `load_network` takes of this file, in words: empty where it has one kind only."""
    return f", its {weights} weights" if averages(read_file(path)) else ""


def _averaged(payload):
    found = averages(payload)
    return payload | {"state_dict": found} if found else payload


def _fill(net, payload, path):
    weights = payload.get("state_dict")
    if not isinstance(weights, dict):
        raise UserError(f"{path} holds {quoted(list(payload))} but no state_dict: pass a weight file")
    found, expected = ({k: tuple(getattr(v, "shape", ())) for k, v in w.items()} for w in (weights, net.state_dict()))
    if found != expected:
        key = next(k for k in [*expected, *found] if found.get(k) != expected.get(k))
        raise UserError(
            f"{path} holds {quoted(payload.get('name'))} {quoted(payload.get('kwargs'))}, expected "
            f"{network_name(net)} {net.kwargs} ({quoted(key)} is {found.get(key)}, not {expected.get(key)}): "
            f"pass weights of the same network"
        )
    if key := next((key for key, value in weights.items() if not _is_plain(value)), None):
        raise UserError(f"{path}: {key} is not a dense tensor of floating-point numbers: pass a weight file")
    if key := first_not_finite(weights):
        raise UserError(f"{path}: {key} holds NaN or infinity: use an earlier checkpoint")
    net.load_state_dict(weights)


def _are_kwargs(found: object) -> TypeGuard[dict[str, int]]:
    if not isinstance(found, dict) or found.keys() != LARGEST.keys():
        return False
    return all(type(value) is int and 0 < value <= LARGEST[name] for name, value in found.items())


def _is_plain(value):  # a tensor that copy_ takes: not sparse, quantized or without data
    is_tensor = isinstance(value, torch.Tensor) and value.layout == torch.strided
    return is_tensor and value.is_floating_point() and value.device.type == "cpu"
