"""The depth of a record to look at. Records hold none: it is estimated anew, from the crop alone."""

import functools

import torch

from model.device import choose_device
from pack.depth.models import OFFLINE, load_depth, normalise
from pack.shards.record import Record, encode_image

keep_model = functools.lru_cache(1)(load_depth)


def depth_pictures(record: Record, model_type: str = "") -> tuple[str, list[bytes]]:
    """In words what was estimated, and a gray PNG for each frame, near is bright.

    The model is the one named, else the one that the record names, else the offline one. Raises UserError, with what
    mends it, where there is no such model on this machine.
    """
    named = record.info.get("model_type")
    name = model_type or named or OFFLINE
    resolution = record.info.get("resolution") if name == named else None
    model = keep_model(name, resolution, choose_device("auto", 0))
    frames = torch.from_numpy(record.frames).permute(0, 3, 1, 2).float() / 255  # (T 3 H W)
    depth = normalise(model(frames)).mul(255).round().byte().cpu().numpy()[:, 0]  # (T h w)
    why = "" if model_type or named else ", as the record names no model"
    return f"estimated now by {name}{why}, from this crop alone: packing saw whole frames", [
        encode_image(picture, "png") for picture in depth
    ]
