"""Degradations of film: grain and compression noise."""

import io

import numpy as np
from PIL import Image

from pack.scenes.layers import Scene


def expose(colour: np.ndarray, scene: Scene, t: int, eye: int) -> np.ndarray:  # float32 (H W 3) -> uint8 (H W 3)
    """The frame with grain and compression noise; each eye (0 given, 1 rendered) has its own grain."""
    look = scene.look
    if look.noise:
        random = np.random.Generator(np.random.PCG64([scene.seed, eye, t]))
        grain = random.standard_normal(colour.shape[:2], np.float32)
        grain = (grain + np.roll(grain, 1, 0) + np.roll(grain, 1, 1)) * np.float32(look.noise / 3**0.5)
        colour = colour + grain[..., None]
    frame = np.rint(np.clip(colour, 0, 255)).astype(np.uint8)
    return frame if look.quality is None else compress(frame, look.quality)


def compress(frame: np.ndarray, quality: int) -> np.ndarray:  # uint8 (H W 3) -> same
    """The frame after JPEG compression with 4:2:0 chroma, similar to key frames of a film."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, format="JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(out))
