"""The methods that evaluation compares: checkpoints, an untrained network and baselines; and what they cost."""

import ctypes
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from model.checkpoint import BASE_NAME, load_network
from model.light_video_inpaint import FRAMES, NAMES, LightVideoInpaint
from tools.cli import UserError
from tools.evaluation.baselines import BASELINES, ONE_FRAME, OPENCV, Fill
from tools.evaluation.motion import HAS_CV2
from tools.evaluation.network_fill import STREAM, NetworkFill, SharedEncoder, middle_of
from tools.evaluation.overlap import USUAL, Overlap, named
from train.evaluation.evaluate import trim
from train.runtime.seeds import generator

Kind = str  # "network", "stream", "untrained", "one frame" or "several frames"


@dataclass
class Cost:
    """Time and memory that filling took."""

    seconds: list[float] = field(default_factory=list)  # per clip
    frames: int = FRAMES  # per clip
    memory: int | None = None  # peak of the first clip, in bytes above what was in use before

    @property
    def milliseconds(self) -> float:
        """Mean time per frame; the first clip is a warm-up and is left out where there are others."""
        counted = self.seconds[1:] or self.seconds
        return 1000 * sum(counted) / len(counted) / self.frames


@dataclass
class Method:
    """A named way of filling holes."""

    name: str
    kind: Kind
    fill: Fill
    parameters: int = 0
    frames: int = FRAMES  # that it needs at once
    cost: Cost = field(default_factory=Cost)

    def __call__(self, frames: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
        """The filled frames (T 3 H W) of frames with black holes; time and memory are added to the cost."""
        return self._run(self.fill, frames, holes)

    def measured(self, frames: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
        """The middle 12 of the filled frames without the outer 16 pixels, of which alone a network computes them.

        Time and memory are added to the cost, time also for what a network reuses of a frame.
        """
        if not isinstance(self.fill, NetworkFill):
            return trim(self(frames, holes)[middle_of(len(frames))])
        encoder = self.fill.encoder
        before = encoder.reused_seconds
        filled = self._run(self.fill.measured, frames, holes)
        self.cost.seconds[-1] += encoder.reused_seconds - before
        return filled

    def _run(self, fill, frames, holes):
        self.cost.frames = len(frames)
        if self.cost.seconds:
            return self._timed(fill, frames, holes)
        with Peak(frames.device) as peak:
            filled = self._timed(fill, frames, holes)
        self.cost.memory = peak.bytes
        return filled

    def _timed(self, fill, frames, holes):
        started = time.perf_counter()
        filled = fill(frames, holes)
        if frames.is_cuda:
            torch.cuda.synchronize()
        self.cost.seconds.append(time.perf_counter() - started)
        return filled


def choose_baselines(names: Sequence[str]) -> tuple[list[Method], list[str]]:
    """The baselines of these names, or of "all" or "none", and a line that says which are left out and why."""
    if unknown := [name for name in names if name not in (*BASELINES, "all", "none")]:
        raise UserError(f"--baselines {unknown[0]}: expected all, none or names from {', '.join(BASELINES)}")
    wanted = [name for name in BASELINES if name in names or "all" in names]
    notes = [] if HAS_CV2 or not set(OPENCV) & set(wanted) else [NO_OPENCV]
    kinds = {name: "one frame" if name in ONE_FRAME else "several frames" for name in wanted}
    return [Method(n, kinds[n], BASELINES[n]) for n in wanted if HAS_CV2 or n not in OPENCV], notes


NO_OPENCV = "without OpenCV telea and navier-stokes are left out and flow is less accurate: make setup EXTRAS=baselines"


def load_methods(
    checkpoints: Sequence[str],
    device: torch.device,
    seed: int,
    weights: Literal["averaged", "raw"] = "averaged",
    half: bool = False,
    overlap: Overlap = USUAL,
    brief: bool = False,
) -> list[Method]:
    """Each checkpoint on 12 frames and streamed as in iw3, and an untrained network of the last one's architecture.

    With `half` they compute in bf16 where the device has it, the untrained network always. With another overlap than
    the usual one they are streamed with this one, too. With `brief` there are the checkpoints on 12 frames alone.
    """
    methods = []
    for path, name in zip(checkpoints, short_names(checkpoints), strict=True):
        network = load_network(path, device, weights)
        encoder = SharedEncoder(network)
        methods.append(network_method(name, "network", encoder, half))
        if brief:
            continue
        methods.append(network_method(f"{name} streamed", "stream", encoder, half))
        if overlap != USUAL:
            methods.append(network_method(f"{name} streamed{named(overlap)}", "stream", encoder, half, overlap))
    if brief:
        return methods
    kwargs: dict[str, Any] = network.kwargs if checkpoints else NAMES[BASE_NAME]
    untrained = LightVideoInpaint(**kwargs, generator=generator(seed, "weights")).to(device).eval()
    # Always in bf16: its error is hundreds of times that of bf16, which saves two fifths of its time.
    return [*methods, network_method("untrained", "untrained", untrained, half=True)]


def network_method(
    name: str, kind: Kind, network: LightVideoInpaint | SharedEncoder, half: bool = False, overlap: Overlap = USUAL
) -> Method:
    """The method that fills with this network; with `half` in bf16 where the device has it.

    Methods with the same SharedEncoder encode a frame of a clip once.
    """
    encoder = network if isinstance(network, SharedEncoder) else SharedEncoder(network)
    frames = STREAM if kind == "stream" else FRAMES
    parameters = sum(p.numel() for p in encoder.network.parameters())
    return Method(name, kind, NetworkFill(encoder, half, overlap), parameters, frames)


def short_names(paths: Sequence[str]) -> list[str]:
    """The names of the files without suffix, with as many parent folders as needed to make them unique."""
    parts = [Path(path).with_suffix("").parts for path in paths]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"--checkpoint {' '.join(paths)}: the same file twice, expected different ones")


class Peak:
    """Peak memory of the block above what was in use before: of the GPU, or of this process (Linux only)."""

    def __init__(self, device: torch.device):
        self.device, self._ended = device, threading.Event()
        self.bytes: int | None = None

    def __enter__(self) -> "Peak":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        elif STATM.exists():
            release_freed_memory()
            self._before = self._peak = resident_bytes()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._before
        elif STATM.exists():
            self._ended.set()
            self._thread.join()
            self.bytes = max(self._peak, resident_bytes()) - self._before

    def _watch(self):
        while not self._ended.wait(0.005):
            self._peak = max(self._peak, resident_bytes())


STATM = Path("/proc/self/statm")


def release_freed_memory() -> None:
    """Make glibc return freed memory to the system: memory that the block reuses would not be counted."""
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
