"""What each stage of a film will take on this machine, measured on its first frames."""

import math
import shutil
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F

from model.light_video_inpaint import FRAMES, LightVideoInpaint
from pack.depth.models import DepthEstimator
from pack.film_depth import FilmDepth
from pack.video.reader import VideoInfo
from pack.video.shot_reader import read_shots
from tools.cli import UserError, duration, plural
from tools.cli.sizes import format_size
from tools.synthesis.views import Geometry, raw_windows, see

CLIP = 16  # frames of a record
MOST_CLIPS = 800  # of a film that are packed; further apart in longer films
SMALL = 2**17  # pixels of the frame that the network is timed on
TILE = 256  # pixels of the tiles that the certificate measures at most
ENCODE = 0.03  # seconds to encode a lossless frame of 512x512
METHODS = 4  # times of the network on a tile that the certificate takes per record: two networks, and measuring


@dataclass(frozen=True)
class Costs:
    """Measured seconds."""

    depth: float  # per frame
    view: float  # per frame
    network: float  # per frame of the film, streamed
    tile: float  # per tile of 12 frames and 256 pixels


@dataclass(frozen=True)
class Plan:
    """How a film is packed, and what the stages take."""

    skip: int  # frames between clips
    size: int  # side of the records, pixels
    clips: int
    stages: dict[str, float]  # seconds by stage, those that are not known before are left out
    bytes: int  # of records and depth, about

    def lines(self, hours: float) -> list[str]:
        """The plan in words."""
        words = {name: duration(seconds) for name, seconds in self.stages.items()}
        return [
            f"  1. depth and shots      {words['depth']}",
            f"  2. records              {words['records']}, about {plural(2 * self.clips, 'record')} of {self.size} px",
            f"  3. tuning               up to {duration(3600 * hours)}, less where held-out shots stop gaining",
            f"  4. certificate          {words['certificate']}",
            f"  5. conversion           {words['conversion']}",
            f"  room on the disk        about {format_size(self.bytes)} besides the film",
        ]


def record_size(video: VideoInfo) -> int:
    """The side of records: 512, or the largest multiple of 8 that the film has. Raises UserError for tiny films."""
    size = min(512, min(video.width, video.height) // 8 * 8)
    if size < 96:
        raise UserError(f"{video.path} is {video.width}x{video.height}: expected a short side of 96 pixels or more")
    return size


def make_plan(video: VideoInfo, costs: Costs) -> Plan:
    """The plan of a film with these costs."""
    size, frames = record_size(video), max(video.frames, 1)
    skip = max(0, math.ceil(frames / MOST_CLIPS) - CLIP)
    clips = math.ceil(frames / (CLIP + skip))
    held = math.ceil(2 * clips / 7)
    pixels = (size / 512) ** 2
    stages = {
        "depth": frames * costs.depth,
        "records": clips * 2 * CLIP * (costs.view + ENCODE * pixels),
        "certificate": held * METHODS * costs.tile * (min(TILE, size) / TILE) ** 2,
        "conversion": frames * (costs.view + costs.network),
    }
    return Plan(skip, size, clips, stages, round(frames * 150_000 + clips * 2 * CLIP * 230_000 * pixels))


@torch.inference_mode()
def measure_costs(
    video: VideoInfo,
    model: DepthEstimator | FilmDepth,
    network: LightVideoInpaint,
    how: Geometry,
    device: torch.device,
) -> Costs:
    """The costs, from the film's first frames."""
    frames = list(islice(next(read_shots(video.path)), CLIP))
    next(raw_windows(frames[:2], model, device))  # compiles
    started = time.monotonic()
    parts = next(raw_windows(frames, model, device))
    depth = (time.monotonic() - started) / len(parts)
    seconds, frame, raw = parts[0]
    near = ((raw - raw.min()) / (raw.max() - raw.min()).clamp(min=1e-6)).clamp(0, 1)
    see(seconds, frame, near, how)  # compiles
    started = time.monotonic()
    view = see(seconds, frame, near, how)
    viewing = time.monotonic() - started
    share = min(1.0, math.sqrt(SMALL / (video.width * video.height)))
    small = F.interpolate(view.right[None], scale_factor=share, mode="bilinear").expand(FRAMES, -1, -1, -1)
    holes = F.interpolate(view.holes[None].float(), small.shape[-2:]).expand(FRAMES, -1, -1, -1) > 0
    network.infer(small, holes)
    started = time.monotonic()
    network.infer(small, holes)
    taken = time.monotonic() - started
    pixels = small.shape[-1] * small.shape[-2]
    return Costs(depth, viewing, taken / 6 * video.width * video.height / pixels, taken * TILE**2 / pixels)


def check_room(folder: Path, plan: Plan) -> str:
    """A warning where the disk has less room than the plan needs, else nothing."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free > plan.bytes:
        return ""
    return f"warning: {folder} has {format_size(free)} free, the film needs about {format_size(plan.bytes)}"
