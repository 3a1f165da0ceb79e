"""Small videos with something in front of something else."""

from pathlib import Path

import av
import numpy as np


def make_video(path: Path, frames: int = 60, width: int = 192, height: int = 144, seed: int = 0, fps: int = 25) -> Path:
    """Bright boxes that move over a dim, slowly panning background."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 90, (height // 8 + 1, (width + frames) // 8 + 2, 3)).repeat(8, 0).repeat(8, 1)
    lefts = rng.integers(0, width // 2, 6)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            picture = texture[:height, t : t + width].copy()
            for k, left in enumerate(lefts):
                top, x = 4 + k * height // 6, (left + (k % 3 - 1) * t) % (width - 40)
                picture[top : top + height // 7, x : x + 36] = 160 + 15 * k
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
