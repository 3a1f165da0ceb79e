"""The depth view of a record. Records hold no depth, so it is estimated again, from the crop."""

import functools
import re
from pathlib import Path

import torch

from model.device import choose_device
from pack.depth.model_files import OFFLINE
from pack.depth.models import load_depth, normalise
from pack.shards.record import Record, encode_image
from tools.cli import UserError, quoted

LARGEST_RESOLUTION = 2048  # pixels; the estimate of a crop gains nothing from more

keep_model = functools.lru_cache(1)(load_depth)


def is_plain(name: object) -> bool:
    """Whether what a record names can only be the name of a depth model, not a folder of this machine."""
    return isinstance(name, str) and re.fullmatch(r"\w{1,64}", name) is not None and not Path(name).exists()


def depth_pictures(record: Record, model_type: str = "") -> tuple[str, list[bytes]]:
    """A description of the estimate, and a grey PNG for each frame in which near is bright.

    The model is `model_type`, else the one that the record names, else the one that needs no download. Raises
    UserError, which says what to do, where the model is not on this machine.
    """
    named = record.info.get("model_type")
    if not model_type and named and not is_plain(named):
        raise UserError(
            f"the record names the depth model {quoted(named)}, expected a plain name: pass the name or the folder of "
            f"one with --model-type"
        )
    name = model_type or named or OFFLINE
    found = record.info.get("resolution") if name == named else None
    resolution = found if type(found) is int and 0 < found <= LARGEST_RESOLUTION else None
    model = keep_model(name, resolution, choose_device("auto", 0))
    frames = torch.from_numpy(record.frames).permute(0, 3, 1, 2).float() / 255  # (T 3 H W)
    depth = normalise(model(frames)).mul(255).round().byte().cpu().numpy()[:, 0]  # (T h w)
    why = "" if model_type or named else " (the record names no model)"
    text = f"estimated now with {name}{why} from this crop; packing used the whole frames"
    return text, [encode_image(picture, "png") for picture in depth]
