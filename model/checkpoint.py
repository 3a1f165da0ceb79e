"""The weight format, which is iw3's: a torch.save file of one plain dict, read with weights_only=True.

A file of weights holds, in this order: nunif_model (1), name, updated_at, kwargs, train_kwargs, state_dict (93 float32
tensors). A training checkpoint may hold more.
"""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path

import torch

from model.light_video_inpaint import NAMES, Init, LightVideoInpaint
from tools.cli import UserError
from tools.cli.files import write_file

BASE_NAME = "inpaint.light_video_inpaint_v1"
BASE_FILE = Path(__file__).parent / "base" / f"{BASE_NAME}.pth"
ALIASES = {f"{BASE_NAME}_small": BASE_NAME}  # never appears in a file


def create_network(name: str, init: Init = "copy", generator: torch.Generator | None = None) -> LightVideoInpaint:
    """A new network of the registered name, in train mode, with weights drawn from the generator."""
    name = ALIASES.get(name, name)
    if name not in NAMES:
        raise UserError(f"no network is named {name!r}: pass one of {', '.join([*NAMES, *ALIASES])}")
    return LightVideoInpaint(**NAMES[name], init=init, generator=generator)


def load_network(path: str | Path, device: torch.device | str = "cpu") -> LightVideoInpaint:
    """The network of a weight file or training checkpoint, iw3's or ours, in eval mode.

    Raises MissingFile, or UserError for a file that is damaged or holds something else.
    """
    payload = read_file(path)
    name = payload.get("name")
    if name not in NAMES:
        raise UserError(f"{path} holds {name!r}, expected one of {', '.join(NAMES)}: pass a file of inpainting weights")
    kwargs = payload.get("kwargs")
    if not isinstance(kwargs, dict) or kwargs.keys() != NAMES[name].keys():
        raise UserError(f"{path} has kwargs {kwargs}, expected {', '.join(NAMES[name])}: pass an unaltered file")
    net = LightVideoInpaint(**kwargs, generator=torch.Generator())  # overwritten: leaves the global state alone
    _fill(net, payload, path)
    return net.to(device).eval()


def load_weights(net: torch.nn.Module, path: str | Path) -> None:
    """Copy the weights of a weight file or training checkpoint, iw3's or ours, into an existing network.

    Raises MissingFile, or UserError for a file that is damaged or of another architecture.
    """
    _fill(net, read_file(path), path)


def save_network(path: str | Path, net: LightVideoInpaint, train_kwargs: dict | None = None) -> None:
    """Write the weights as a file that iw3 loads; train_kwargs are plain values that say how they were trained."""
    write_checkpoint(path, describe(net, train_kwargs))


def describe(net: LightVideoInpaint, train_kwargs: dict | None = None) -> dict:
    """What a weight file holds, for writing or for a training checkpoint to add to."""
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
    """The name that files give the network; one of unregistered size goes by the base name and its kwargs."""
    return next((name for name, kwargs in NAMES.items() if kwargs == net.kwargs), BASE_NAME)


def locate(path: str | Path) -> Path:
    """Where a network lies: "base" is the one that comes with the project, see model/base/README.md."""
    return BASE_FILE if str(path) == "base" else Path(path)


def read_file(path: str | Path) -> dict:
    """The dict of a file that torch.save wrote, or of "base", its tensors on the CPU and every byte checked by its CRC.

    Raises MissingFile, or UserError for a file that is truncated, altered or something else.
    """
    path, mend = locate(path), "copy it again or use an earlier one"
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise UserError(f"{path} is no checkpoint or cut short ({os.path.getsize(path)} bytes): {mend}")
        try:
            damaged = zipfile.ZipFile(file).testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
            file.seek(0)
            payload = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise UserError(f"{path} holds more than tensors and plain values: pass a file of weights") from None
        except (zipfile.BadZipFile, UnicodeDecodeError, RuntimeError) as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}): {mend}") from None
    if not isinstance(payload, dict):
        raise UserError(f"{path} holds a {type(payload).__name__}, expected a dict: pass a file of weights")
    return payload


def write_checkpoint(path: str | Path, payload: dict) -> None:
    """Write a dict of tensors and plain values so that the path holds either all of it or what it held before.

    Raises OSError, as for a full disk, and leaves no temporary file behind then.
    """
    data = io.BytesIO()  # written to a full disk directly, torch.save raises a RuntimeError that hides the OSError
    torch.save(payload, data)
    write_file(path, data.getbuffer())


def _fill(net, payload, path):
    weights = payload.get("state_dict")
    if not isinstance(weights, dict):
        raise UserError(f"{path} holds {', '.join(map(str, payload))} but no state_dict: pass a file of weights")
    found, expected = ({k: tuple(getattr(v, "shape", ())) for k, v in w.items()} for w in (weights, net.state_dict()))
    if found != expected:
        key = next(k for k in [*expected, *found] if found.get(k) != expected.get(k))
        raise UserError(
            f"{path} holds {payload.get('name')} {payload.get('kwargs')}, expected {network_name(net)} {net.kwargs} "
            f"({key} is {found.get(key)}, not {expected.get(key)}): pass weights of the same network"
        )
    net.load_state_dict(weights)
