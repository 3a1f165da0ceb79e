"""Depth of small films in every form that is read."""

from pathlib import Path

import av
import numpy as np
import yaml
from PIL import Image

from pack.video.reader import read_frames


def nearness(film: Path, frames: int | None = None) -> np.ndarray:  # -> float32 (T h w)
    """What is bright is near, at half the size of the film."""
    maps = np.stack([frame.mean(-1)[::2, ::2] / 255 for frame in read_frames(film, 10**6)]).astype(np.float32)
    return maps[:frames]


def as_16_bits(depth: np.ndarray) -> np.ndarray:
    return np.floor(depth * 65535).astype(np.uint16)


def write_pngs(folder: Path, depth: np.ndarray, first: int = 0, step: int = 1) -> Path:
    folder.mkdir(parents=True)
    for number, values in enumerate(as_16_bits(depth)):
        Image.fromarray(values).save(folder / f"{first + number * step:08d}.png")
    return folder


def write_export(
    folder: Path, depth: np.ndarray, first: int = 0, step: int = 1, fps=25, cuts=(), film: Path | None = None, **changes
) -> Path:
    """A folder as iw3 exports it, with the pictures of `film` where one is given."""
    write_pngs(folder / "depth", depth, first, step)
    if film:
        (folder / "rgb").mkdir()
        for number, frame in zip(range(len(depth)), read_frames(film, 10**6), strict=False):
            Image.fromarray(frame).save(folder / "rgb" / f"{first + number * step:08d}.png", compress_level=1)
        changes = {"rgb_dir": "rgb"} | changes
    options = {"depth_model": "VDA_L", "mapper": "none", "edge_dilation": 2, "ema_normalize": True, "max_fps": 30}
    content = {
        "type": "video",
        "basename": folder.name,
        "fps": fps,
        "rgb_dir": None,
        "depth_dir": "depth",
        "audio_file": None,
        "mapper": "none",
        "skip_mapper": False,
        "skip_edge_dilation": False,
        "updated_at": "2026-11-27T00:00:00",
        "user_data": {"export_options": options, "scene_boundary": ",".join(f"{cut:08d}" for cut in cuts)},
    }
    (folder / "iw3_export.yml").write_text(yaml.safe_dump(content | changes))
    return folder


def write_grey_video(path: Path, depth: np.ndarray, codec="ffv1", pix_fmt="gray16le", rate=25) -> Path:
    """A video whose luma is the depth, full range."""
    bits = int("".join(c for c in pix_fmt.removesuffix("le") if c.isdigit())[-2:])
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options={"x265-params": "lossless=1:log-level=none"})
        stream.height, stream.width, stream.pix_fmt = *depth.shape[1:], pix_fmt
        stream.codec_context.color_range = 2
        for values in np.floor(depth * (2**bits - 1)).astype(np.uint16):
            frame = av.VideoFrame(depth.shape[2], depth.shape[1], pix_fmt)
            frame.color_range = 2
            for plane, samples in zip(frame.planes, (values, None, None), strict=False):
                rows = np.full((plane.height, plane.line_size // 2), 2 ** (bits - 1), np.uint16)
                if samples is not None:
                    rows[:, : samples.shape[1]] = samples
                plane.update(rows)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
