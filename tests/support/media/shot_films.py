"""Small films of several shots."""

from pathlib import Path

import av
import numpy as np


def make_shots(path: Path, shots: int = 8, length: int = 18, size=(128, 96), rate: int = 24, seed: int = 0) -> Path:
    """A bright box that moves over a dim texture; each shot has another texture and box."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "10", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for shot in range(shots):
            colour = random.integers(20, 110, 3)
            texture = np.clip(colour + random.integers(-20, 20, (size[1] // 4, size[0] // 4, 1)), 0, 120)
            texture = texture.repeat(4, 0).repeat(4, 1)
            top, left, step = random.integers(8, 40), random.integers(10, 50), random.integers(1, 3)
            for t in range(length):
                picture = texture.copy()
                picture[top : top + 48, left + step * t : left + step * t + 30] = 180 + 8 * (shot % 8)
                frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
                out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
