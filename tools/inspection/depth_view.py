"""The depth view of a record. Records hold no depth, so it is estimated again, from the crop."""

import functools

import torch

from model.device import choose_device
from pack.depth.models import OFFLINE, load_depth, normalise
from pack.shards.record import Record, encode_image

keep_model = functools.lru_cache(1)(load_depth)


def depth_pictures(record: Record, model_type: str = "") -> tuple[str, list[bytes]]:
    """A description of the estimate, and a grey PNG for each frame in which near is bright.

    The model is `model_type`, else the one that the record names, else the one that needs no download. Raises
    UserError, which says what to do, where the model is not on this machine.
    """
    named = record.info.get("model_type")
    name = model_type or named or OFFLINE
    resolution = record.info.get("resolution") if name == named else None
    model = keep_model(name, resolution, choose_device("auto", 0))
    frames = torch.from_numpy(record.frames).permute(0, 3, 1, 2).float() / 255  # (T 3 H W)
    depth = normalise(model(frames)).mul(255).round().byte().cpu().numpy()[:, 0]  # (T h w)
    why = "" if model_type or named else " (the record names no model)"
    text = f"estimated now with {name}{why} from this crop; packing used the whole frames"
    return text, [encode_image(picture, "png") for picture in depth]
