"""Part c: frames a second of `make stereo` and of packing."""

import itertools
import time
from functools import partial
from pathlib import Path

import av
import torch

from tools.gpu.data import pack
from tools.gpu.work import Row, Work

SIZE, FRAMES = (1080, 1920), (16, 64)
TINY_SIZE, TINY_FRAMES = (96, 128), (6, 8)


def measure(work: Work) -> None:
    """Add a row for stereo films with a network, without one, and for packing."""
    film = enlarge(work)
    acts = {f"stereo, {name}": partial(measure_stereo, film=film, name=name) for name in ("network", "simple fill")}
    work.attempt_all("c", acts | {"packing": measure_packing})


def measure_stereo(work: Work, film: Path, name: str) -> None:
    """Add the row of stereo films with a network or with a simple fill."""
    flags = ("--checkpoint", work.checkpoint) if name == "network" else ("--baseline", "replicate")
    frames = TINY_FRAMES if work.tiny else FRAMES
    seconds = [time_stereo(work, film, count, *flags) for count in frames]
    notes = {"seconds": seconds[1], "of_fewer_frames": seconds[0], "height": (TINY_SIZE if work.tiny else SIZE)[0]}
    work.add(Row("c", f"stereo, {name}", rate(frames, seconds), "frames/s", notes=notes))


def measure_packing(work: Work) -> None:
    """Add the row of packing, unless another part has packed already."""
    if any(row.what.startswith("packing") for row in work.rows):
        return
    elsewhere = Work(
        work.device, work.folder, work.folder / "packed", work.videos, work.checkpoint, work.tiny, end=work.end
    )
    pack(elsewhere, "train", work.videos[0])
    work.rows += elsewhere.rows


def rate(frames: tuple[int, int], seconds: list[float]) -> float:
    """Frames per second without the start of the program, which the shorter of two runs tells."""
    gained = seconds[1] - seconds[0]
    return (frames[1] - frames[0]) / gained if gained > 0 else frames[1] / seconds[1]  # a busy machine hides the gain


def time_stereo(work: Work, film: Path, count: int, *flags: object) -> float:
    """Seconds of a conversion of the first frames, start of the program included."""
    out, started = work.folder / f"stereo-{time.monotonic_ns()}.mp4", time.monotonic()  # new, so that none is resumed
    work.run(
        "tools/stereo.py", "--video", film, "-o", out, "--device", work.device.type, "--sound", "none",
        "--seconds", f"{count / frames_per_second(film):.4f}", *flags,
    )  # fmt: skip
    seconds = time.monotonic() - started
    out.unlink()
    return seconds


def frames_per_second(film: Path) -> float:
    """The frame rate of the film."""
    from pack.video.reader import probe

    return float(probe(film).fps)


def enlarge(work: Work) -> Path:
    """A film of 1080p made of the first frames of a film."""
    from pack.video.reader import probe
    from pack.video.shot_reader import read_shots
    from train.evaluation.metrics import as_uint8

    source, out = probe(work.videos[0]), work.folder / "film.mp4"
    size, most = (TINY_SIZE, TINY_FRAMES[1] + 2) if work.tiny else (SIZE, FRAMES[1] + 2)
    pictures = itertools.chain.from_iterable(read_shots(source.path))
    with av.open(out, "w") as container:
        stream = container.add_stream("libx264", rate=round(source.fps), options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for _, picture in itertools.islice(pictures, most):
            frame = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
            large = torch.nn.functional.interpolate(frame, size, mode="bilinear", antialias=True)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(as_uint8(large[0]).numpy(), "rgb24")))
        container.mux(stream.encode())
    return out
