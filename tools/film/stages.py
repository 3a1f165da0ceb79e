"""The stages of a film that other programs do: packing, evaluation, conversion, with the flags that they get."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.checkpoint import locate
from pack.shards.exclusion import as_text
from pack.shards.shard import list_shards
from pack.sources import fingerprint
from pack.video.export import read_export
from pack.video.output.parts import lock_of
from pack.video.reader import VideoInfo
from tools.cli.files import file_sha256, write_file
from tools.cli.machine import usable_cores
from tools.evaluation.methods import short_names
from tools.evaluation.motion import HAS_CV2
from tools.film.certificate import Certificate, certify, frames_of
from tools.film.holding import Roles, divide
from tools.film.plan import TILE, Plan
from tools.film.programs.run import run
from tools.film.survey import Shot, shot_of
from tools.film.work import Work

if TYPE_CHECKING:
    from tools.film.__main__ import Config

FILLS = ("replicate", "mirror", "stretch", "telea", "navier-stokes")  # that see one frame; OpenCV's where it is there


def pack(config: "Config", video: VideoInfo, work: Work, plan: Plan, split: str, rule: str) -> int:
    """Pack the shots of a split as the conversion will see them; the number of records."""
    words = {
        "video": video.path,
        "data-dir": work.data / split,
        "depth": work.depth,
        "depth-range": "given",
        "depth-metric": config.depth_metric,
        "divergence": 2 * config.percent,  # one view takes all of it
        "mapper": export_mapper(work),
        "holes": config.method,
        "shots": rule,
        "short-sides": min(video.width, video.height),
        "size": plan.size,
        "skip-interval": plan.skip,
        "max-fps": 1000,
        "device": config.device,
    }
    run("pack/main.py", *(word for name, value in words.items() for word in (f"--{name}", value)), "--no-rotate")
    return sum(len(shard.records) for shard in list_shards(work.data / split))


def assign(work: Work, shots: list[Shot]) -> Roles | None:
    """Note which held-out records are for validation and which for the test; None where their shots are too few."""
    frames = frames_of(work.data / "eval")
    roles = divide({key: shot_of(shots, frame) for key, frame in frames.items()})
    for path, keys in ((work.validation, roles and roles.validation), (work.test, roles and roles.test)):
        if roles and roles.apart:
            write_file(path, as_text(sorted(keys or ())))
        else:
            path.unlink(missing_ok=True)
    return roles


def export_mapper(work: Work) -> str:
    """The curve that the conversion applies."""
    return read_export(work.depth).mapper or "none"


def train_flags(config: "Config", work: Work, plan: Plan, records: int, device: torch.device) -> dict[str, Any]:
    """The flags of train/main.py that depend on the machine and on the records."""
    on_gpu = device.type == "cuda"
    tile = config.tile or (min(248, plan.size) if on_gpu else min(120, plan.size))
    sequences = max(16, min(records, 128))  # between evaluations
    return {
        "tile": tile // 8 * 8,
        "num-samples": 12 * sequences,
        "backward-step": 4 if on_gpu else 2,
        "save-every-steps": 20,
        "num-workers": 1,
        "device": config.device,
    } | ({"exclude": work.test} if work.test.exists() else {})


def tuning_processes(device: torch.device) -> int:
    """Processes of the tuning: two on a CPU with several cores, which wait for each other once a step, not in each sum.

    Sequences a second on two cores that other programs shared: 2.0 by two processes with a thread each, 1.2 by one
    process with one thread, 0.7 by one with two.
    """
    return min(2, usable_cores()) if device.type == "cpu" else 1


def prove(config: "Config", work: Work, shots: list[Shot], plan: Plan, tuned: Path, apart: bool) -> Certificate:
    """Measure start, tuned network and simple fills on the test shots, unless it is done for this network.

    `apart` says whether these shots had no part in choosing the network.
    """
    found, sha256 = work.folder / "certificate", file_sha256(tuned)
    if work.read("certified").get("network") != sha256 or not (found / "metrics.json").exists():
        fills = [name for name in FILLS if HAS_CV2 or name not in ("telea", "navier-stokes")]
        words = ["--data", work.data / "eval", "--out", found, "--tile", min(TILE, plan.size), "--brief"]
        words += ["--device", config.device]
        words += ["--exclude", work.validation] if apart else []
        run("tools/evaluate.py", *words, "--checkpoint", config.checkpoint, tuned, "--baselines", *fills)
        work.write("certified", {"network": sha256})
    start, network = names(config.checkpoint, tuned)
    return certify(found / "metrics.json", work.data / "eval", shots, start, network, apart)


def names(checkpoint: str, tuned: Path) -> list[str]:
    """What tools/evaluate.py calls the two networks."""
    return short_names([checkpoint, str(tuned)])


def identify(network: str) -> str:
    """What tells networks apart: the sha256 of the file, also of `base`, which is another one in another version."""
    return file_sha256(locate(network))


def convert(config: "Config", video: VideoInfo, work: Work, out: Path, winner: str, depth: Path) -> None:
    """Convert the film with a network and this depth, unless it is done and OUT is still that film."""
    how: dict[str, Any] = {"layout": config.layout, "sound": config.sound}
    how |= {} if config.crf is None else {"crf": config.crf}
    if config.confidence and work.confidence.exists():
        how["confidence"] = str(work.confidence)
    made = {"winner": identify(winner), **how} | ({} if depth == work.depth else work.read("held"))
    if out.exists() and work.read("film") == made | {"file": fingerprint(out)}:
        print(f"{out}: converted before")
        return
    words: dict[str, object] = {
        "video": video.path,
        "out": out,
        "checkpoint": winner,
        "depth": depth,
        "depth-range": "given",
        "depth-metric": config.depth_metric,
        "divergence": config.percent,
        "method": config.method,
        "device": config.device,
        **how,
    }
    flags = (word for name, value in words.items() for word in (f"--{name}", value))
    run("tools/stereo.py", *flags, lock=lock_of(out))
    work.write("film", made | {"file": fingerprint(out)})
