"""One command for one film: depth, a network tuned to the film, a certificate that it helped, the stereo film.

Every stage resumes by itself when the same command is given again.
"""

import math
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import check_replaceable
from tools.cli.signals import end_at_sigterm
from tools.film.strength import AUTO

if TYPE_CHECKING:
    import torch

    from model.light_video_inpaint import LightVideoInpaint
    from pack.depth.models import DepthEstimator
    from pack.film_depth import FilmDepth
    from pack.video.reader import VideoInfo
    from tools.film.calibration import Calibration
    from tools.film.certificate import Certificate
    from tools.film.plan import Plan
    from tools.film.survey import Shot
    from tools.film.work import Work

CLIP = 16  # frames of a record
# may change from run to run
FREE = ("video", "out", "hours", "dry_run", "layout", "device", "crf", "sound", "confidence")


@dataclass(frozen=True)
class Config:
    """Convert one film with a network that is tuned to it, and certify that the tuning helped."""

    ALIASES: ClassVar = {"video": ("-i",), "out": ("-o",)}
    video: str = ""  # film to convert, or iw3's export folder of it (required, unless that is --depth)
    out: str = ""  # stereo film (default: NAME_LR.mkv in the current folder); beside it OUT.certificate.html, and
    # OUT.film/ with depth, records and networks
    depth: str = ""  # depth from files instead of a model, as for packing
    depth_large: Literal["auto", "near", "far"] = "auto"  # what large values in depth files mean; auto: as an export
    # says, else near, or far with --depth-metric yes
    depth_metric: Literal["auto", "yes", "no"] = "auto"  # whether values in depth files are metres, or linear in them;
    # auto: as an export says, else no
    model_type: str = "Motion"  # depth model, as for packing
    resolution: int | None = None  # short side of the depth model's input, pixels (default: the model's own)
    method: Literal["forward", "monobw"] = "forward"  # warp that makes the other eye, and the holes that tuning sees
    divergence: str = "2.5"  # strength: disparity between farthest and nearest point in percent of the longer side, or
    # auto: what suits each shot, by the spread of its depth and its motion
    layout: Literal["sbs", "half-sbs", "tab", "half-tab", "anaglyph", "right"] = "half-sbs"  # see --layout of
    # tools/stereo.py
    hours: float = 1.0  # hours for tuning; more can be given later
    checkpoint: str = "base"  # network to start from
    learning_rate: float = 1e-4  # learning rate of tuning
    tile: int = 0  # side of the training crop, pixels (0: 120 on a CPU, 248 on a GPU)
    confidence: bool = False  # beside the film, OUT.errors/ gets a grey PNG for each frame: the expected error of
    # filled pixels, in levels of 8 bits
    crf: int | None = None  # quality, smaller is better, as of tools/stereo.py
    sound: Literal["auto", "copy", "convert", "none"] = "auto"  # see --sound of tools/stereo.py
    device: str = "auto"  # auto, cpu or cuda
    dry_run: bool = False  # print the plan and stop

    def __post_init__(self):
        if not self.video and not self.depth:
            raise UserError("--video is missing: pass the film to convert, or --depth with an export that has rgb/")
        if not 0 < self.percent <= 25:
            raise UserError(f"--divergence {self.divergence}: expected auto, or a number above 0 and up to 25")
        if self.hours < 0 or self.learning_rate <= 0:
            raise UserError("expected --hours of 0 or more and --learning-rate above 0")

    @property
    def percent(self) -> float:
        """The divergence that packing and conversion get."""
        from tools.film.strength import STRONGEST

        try:
            return STRONGEST if self.divergence == AUTO else float(self.divergence)
        except ValueError:
            return math.nan


def main() -> None:
    config = cli.parse(Config)
    end_at_sigterm("terminated: the same command continues")
    from model.device import choose_device
    from pack.film_depth import film_of
    from pack.video.reader import probe
    from tools import stereo
    from tools.film.work import Work
    from train.runtime.cpu import prepare_cpu

    config = replace(config, video=str(film_of(config.video, config.depth)))
    video, device = probe(Path(config.video)), choose_device(config.device, 0)
    prepare_cpu(device)  # as the programs do that it starts, whose time it estimates
    out = Path(config.out or f"{video.path.stem}_LR.mkv")
    if out.exists() and out.samefile(video.path):
        raise UserError(f"{out} is the film itself: pass another OUT (-o)")
    check_replaceable(out)
    stereo.Config(video=config.video, layout=config.layout, crf=config.crf)  # refuses what the conversion would
    work = Work(out.with_name(out.stem + ".film"))
    with nullcontext() if config.dry_run else work.locked():
        make_film(config, video, out, work, device)


def make_film(config: Config, video: "VideoInfo", out: Path, work: "Work", device: "torch.device") -> None:
    """Print the plan and go through the stages."""
    from model.checkpoint import load_network, network_name
    from tools.film.held import HELD, hold_back
    from tools.film.stages import convert
    from tools.film.summary import finish, headline, say_shots, say_strengths
    from tools.film.survey import survey

    model, name, settings = open_source(config, video, device)
    network = load_network(config.checkpoint, device)
    plan = show_plan(config, video, out, work, model, network, device)
    if config.dry_run:
        return
    work.check_settings(settings)
    headline("1. depth and shots")
    shots = survey(work, video, model, name, device, config.divergence == AUTO)
    say_shots(shots, name)
    winner, certificate, reason = choose_network(config, video, work, shots, plan, network_name(network), device)
    print(reason, flush=True)
    calibration = predict_errors(config, work, shots, winner, device)
    depth = work.depth
    if calibration and config.divergence == AUTO:
        shots, depth = hold_back(work, shots, calibration.confidence, load_network(winner, device).infer, device)
        say_strengths([shot for shot in shots if shot.why.startswith(HELD)], shots)
    headline("5. conversion")
    convert(config, video, work, out, winner, depth)
    finish(config, out, work, shots, winner, certificate, reason, calibration, name, device)


def open_source(
    config: Config, video: "VideoInfo", device: "torch.device"
) -> "tuple[DepthEstimator | FilmDepth, str, dict[str, Any]]":
    """The depth model or the depth files, the model type, and the settings that the working folder depends on."""
    from pack.depth.models import load_depth
    from pack.film_depth import DepthOptions, fingerprint, locate, open_depth
    from pack.sources import fingerprint as video_fingerprint
    from tools.film.stages import identify

    settings = {name: value for name, value in asdict(config).items() if name not in FREE}
    settings["film"] = video_fingerprint(video.path)
    settings["checkpoint"] = identify(config.checkpoint)
    if not config.depth:
        return load_depth(config.model_type, config.resolution, device), config.model_type, settings
    settings["depth"] = fingerprint(locate(config.depth, video.path))
    found = open_depth(config.depth, video, DepthOptions(config.depth_large, config.depth_metric))
    return found, found.model_type if config.model_type == "Motion" else config.model_type, settings


def show_plan(
    config: Config,
    video: "VideoInfo",
    out: Path,
    work: "Work",
    model: "DepthEstimator | FilmDepth",
    network: "LightVideoInpaint",
    device: "torch.device",
) -> "Plan":
    """Print what will be done and how long it takes."""
    from pack.holes.mappers import mapper
    from tools.film.plan import Costs, check_room, make_plan, measure_costs
    from tools.synthesis.views import Geometry

    how = Geometry(config.percent, 0.5, mapper("none"))
    known = {} if config.dry_run else work.read("costs")
    costs = Costs(**known) if known else measure_costs(video, model, network, how, device)
    if not config.dry_run:
        work.write("costs", vars(costs))
    plan = make_plan(video, costs)
    print(
        f"{video.path} -> {out}: {plural(video.frames, 'frame')} of {video.width}x{video.height} at {video.fps:.3g} fps"
    )
    print("\n".join(plan.lines(config.hours)), flush=True)
    if warning := check_room(out.parent, plan):
        print(warning, file=sys.stderr)
    return plan


def predict_errors(
    config: Config, work: "Work", shots: "list[Shot]", winner: str, device: "torch.device"
) -> "Calibration | None":
    """How well the errors of the winner's fills are predicted; None where held-out shots are too few to know."""
    from model.checkpoint import load_network
    from tools.film.calibration import LEAST, calibrate
    from tools.film.stages import identify

    held, infer = work.data / "eval", load_network(winner, device).infer
    found = calibrate(held, shots, infer, identify(winner), device) if held in work.splits else None
    if found:
        found.confidence.save(work.confidence)
        print(f"expected errors of fills: {found}", flush=True)
    else:
        work.confidence.unlink(missing_ok=True)
        if config.confidence:
            print(f"no map of expected errors: it needs {LEAST} held-out shots with holes", flush=True)
    return found


def choose_network(
    config: Config,
    video: "VideoInfo",
    work: "Work",
    shots: "list[Shot]",
    plan: "Plan",
    arch: str,
    device: "torch.device",
) -> "tuple[str, Certificate | None, str]":
    """Stages 2 to 4: the network that converts the film, its certificate, and why it is that one."""
    from tools.film.holding import LEAST, hold_out
    from tools.film.stages import assign, pack, prove, train_flags, tuning_processes
    from tools.film.summary import headline
    from tools.film.tune import tune

    holding = hold_out([shot.frames for shot in shots])
    headline("2. records")
    if not holding:
        if any(shot.frames >= CLIP for shot in shots):
            pack(config, video, work, plan, "train", "all")
        few = f"found {plural(len(shots), 'shot')}, too few to hold {LEAST} of at least {CLIP} frames out"
        return config.checkpoint, None, f"the start is used: {few}, so tuning could not be proved and was not done"
    records = pack(config, video, work, plan, "train", holding.train)
    pack(config, video, work, plan, "eval", holding.eval)
    roles = assign(work, shots)
    if not roles or not records:
        few = f"fewer than {LEAST} held-out shots have" if records else "no other shot has"
        why = f"{few} records with enough holes, so tuning could not be proved and was not done"
        used = max(shot.divergence for shot in shots) or config.divergence
        return config.checkpoint, None, f"the start is used: {why}; a DIVERGENCE above {used} makes holes larger"
    headline("3. tuning")
    if not config.hours:
        return config.checkpoint, None, "the start is used: no time for tuning was given (HOURS=0)"
    flags = train_flags(config, work, plan, records, device)
    seconds, processes = 3600 * config.hours, tuning_processes(device)
    reason = tune(work, config.checkpoint, arch, seconds, flags, config.learning_rate, processes)
    print(reason, flush=True)
    tuned = work.model / f"{arch}.pth"
    if not tuned.exists():
        return config.checkpoint, None, "the start is used: the time was too short for one epoch, pass more HOURS"
    headline("4. certificate")
    certificate = prove(config, work, shots, plan, tuned, roles.apart)
    return str(tuned) if certificate.is_better else config.checkpoint, certificate, certificate.verdict()


if __name__ == "__main__":
    cli.run(main)
