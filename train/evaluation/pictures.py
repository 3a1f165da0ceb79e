"""The images that an evaluation writes."""

import io
from pathlib import Path

import torch
from PIL import Image

from tools.cli.files import write_file
from train.evaluation.metrics import as_uint8


def eval_picture(masked, output, target):  # float (T 3 H W) each -> uint8 (T*H 3*W 3)
    """One row per frame of [masked input | output | target]."""
    columns = [as_uint8(frames).flatten(0, 1) for frames in (masked, output, target)]  # (T*H W 3)
    return torch.cat(columns, dim=1)


def write_picture(path: Path, picture: torch.Tensor) -> None:  # uint8 (H W 3)
    """Write a PNG, whole; its folder is made."""
    data = io.BytesIO()
    Image.fromarray(picture.numpy()).save(data, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data.getvalue())
