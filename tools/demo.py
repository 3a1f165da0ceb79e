"""The whole pipeline once: real clips become shards, a trained network, metrics and images. `make demo` runs it.

A second run skips packing and resumes from the checkpoint, so it only prints the results.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.light_video_inpaint import LightVideoInpaint
    from train.data.samples import Sample

ROOT = Path(__file__).resolve().parents[1]
CLIPS = {"train": ("bikes.mp4", "cityCC0.mpg"), "eval": ("bigbuckbunny.mp4",)}  # different videos
NETWORK = "inpaint.light_video_inpaint_v1"
SEED = 1
EPOCHS = 4
TILE = 248  # of the metrics; training uses smaller tiles, which are faster
SCENES = 6  # rendered ones: enough to see what the measure is, too few to rank networks
SHOWN = 4  # columns of filled.png


@dataclass(frozen=True)
class Config:
    """Pack, train and evaluate with real clips, in a few minutes on a laptop."""

    out: str = "demo"  # output folder
    clips: str = "clips"  # folder with the clips that tools/clips.py downloaded
    steps: int = 120  # optimizer steps of the training, with one sequence per process
    processes: int = 1  # number of training processes

    def __post_init__(self):
        if self.steps < 1 or self.processes < 1:
            raise UserError(f"--steps {self.steps} --processes {self.processes}: expected 1 or more of each")


def main() -> int:
    config = cli.parse(Config)
    out = Path(config.out)
    started = time.monotonic()
    for split, names in CLIPS.items():
        headline(f"packing {', '.join(names)} into {out / 'data' / split}")
        videos = [str(Path(config.clips) / name) for name in names]
        run("pack/main.py", "--video", *videos, "-o", str(out / "data" / split))
    headline(f"training iw3's network for {plural(config.steps, 'step')} on small tiles")
    train(config, out)
    run("tools/export.py", "--checkpoint", str(out / "model" / f"{NETWORK}.pth"), "-o", str(out / f"{NETWORK}.pth"))
    headline("evaluating the untrained and the trained network")
    metrics = evaluate(out)
    headline("measuring both networks against a true second eye")
    eyes = measure_second_eye(out, Path(config.clips))
    run("tools/peek.py", "-i", str(out / "data" / "train"), "--out", str(out / "shards.png"))
    summarise(out, metrics, eyes, time.monotonic() - started)
    return 0


def run(*words: str) -> None:
    """Run a program of this repository. Raises UserError when it fails; the program has printed why."""
    status = subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:]]).returncode
    if status:
        raise UserError(f"{words[0]} ended with status {status}: fix the error printed above and run this again")


def train(config: Config, out: Path) -> None:
    """Train under torchrun, or resume the training of an earlier run."""
    flags = {
        "--data-dir": out / "data",
        "--model-dir": out / "model",
        "--loss": "hole_l1",  # the default needs a download of VGG16 weights; a mean over holes needs fewer steps
        "--learning-rate": 3e-4,
        "--learning-rate-cycles": 1,
        "--max-epoch": EPOCHS + 1,  # a cosine cycle ends one epoch before the last
        "--num-samples": 12 * config.processes * max(config.steps // EPOCHS, 1),
        "--backward-step": config.processes,
        "--eval-step": 1,
        "--save-eval-step": 2,
        "--tile": 120,  # the network pads it to 128: less than a fifth of the cost of 256
        "--num-workers": 1,
        "--seed": SEED,
        "--save-every-steps": 20,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(config.processes)]
    done = subprocess.run([sys.executable, *launcher, str(ROOT / "train" / "main.py"), *words, "--resume"])
    if done.returncode:
        raise UserError(
            f"the training ended with status {done.returncode}: fix the error printed above and run this again"
        )


def evaluate(out: Path) -> dict[str, dict[str, float]]:
    """Metrics of the untrained and the trained network on the same tiles; also writes filled.png.

    The results of an earlier run with the same network are reused.
    """
    # torch takes seconds to import, which --help must not wait for
    from model.checkpoint import create_network, load_network
    from pack.shards.shard import list_shards
    from tools.cli.files import file_sha256, read_small
    from train.data.records import Records
    from train.data.samples import Sample, Samples
    from train.evaluation.evaluate import measure
    from train.objectives.loss import create_loss
    from train.runtime.seeds import generator

    found = out / "metrics.json"
    sha256 = file_sha256(out / f"{NETWORK}.pth")
    if found.exists() and (out / "filled.png").exists():
        known = json.loads(read_small(found))
        if known.get("network") == sha256:
            return known["metrics"]
    networks = {
        "untrained": create_network(NETWORK, generator=generator(SEED, "weights")).eval(),
        "trained": load_network(out / f"{NETWORK}.pth"),
    }
    records = Records(tuple(list_shards(out / "data" / "eval")))
    samples = Samples(records, 12, TILE)
    every = [samples[0, number, number] for number in range(len(records))]
    chosen = [sample for sample in every if isinstance(sample, Sample)]
    assert len(chosen) == len(every), "the records were just packed, so none is bad"
    criterion = create_loss("temporal_l1")
    metrics = {}
    for name, network in networks.items():
        rows = [measure(network, criterion, sample, "cpu")[0] for sample in chosen]
        metrics[name] = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    write_sheet(out / "filled.png", networks["trained"], chosen[:: max(len(chosen) // SHOWN, 1)][:SHOWN])
    write_file(found, json.dumps({"network": sha256, "metrics": metrics}, indent=2).encode() + b"\n")
    return metrics


def measure_second_eye(out: Path, clips: Path) -> dict[str, float]:
    """Mean PSNR in truly uncovered pixels of a few rendered scenes, in dB: of trained, untrained and replicate.

    Also writes second-eye/report.html.
    The results of an earlier run with the same network are reused.
    """
    from tools.cli.files import file_sha256, read_small, write_file

    folder, network = out / "second-eye", out / f"{NETWORK}.pth"
    known, sha256 = folder / "network.sha256", file_sha256(network)
    if not known.exists() or read_small(known).decode(errors="replace").strip() != sha256:
        textures = [str(clips / name) for name in CLIPS["eval"]]
        words = ["--checkpoint", str(network), "--textures", *textures, "--depth", "exact", "--baselines", "replicate"]
        words += ["--scenes", str(SCENES), "--size", "256", "--tile", "120", "-o", str(folder)]
        run("tools/stereo_truth/__main__.py", *words)
        write_file(known, f"{sha256}\n".encode())
    report = json.loads(read_small(folder / "metrics.json"))
    found = {case["fill"]: case["means"]["uncovered_psnr"]["mean"] for case in report["cases"]}
    trained = next(name for name, method in report["methods"].items() if method["kind"] == "network")
    return {"trained": found[trained], "untrained": found["untrained"], "replicate": found["replicate"]}


def write_sheet(path: Path, network: "LightVideoInpaint", samples: "Sequence[Sample]") -> None:
    """Write an image with rows masked input, holes, filled, ground truth; columns are the middle frames of samples."""
    import torch  # takes seconds, which --help must not wait for

    from train.data.augment import to_device_batch
    from train.evaluation.metrics import as_uint8
    from train.evaluation.pictures import write_picture

    columns = []
    for sample in samples:
        frames, holes = (part[0] for part in to_device_batch([sample], "cpu"))
        pictures = frames.masked_fill(holes, 0), holes.expand_as(frames).float(), network.infer(frames, holes), frames
        rows = [as_uint8(picture[len(picture) // 2]) for picture in pictures]
        columns.append(torch.cat(rows))  # (4*S S 3)
    write_picture(path, torch.cat(columns, dim=1))


def summarise(out: Path, metrics: dict[str, dict[str, float]], eyes: dict[str, float], seconds: float) -> None:
    """Print where the results are, and the metrics before and after training."""
    headline(f"done in {cli.duration(seconds)}")
    print(f"shards              {out}/data/train and {out}/data/eval; {out}/shards.png shows them")
    print(f"network             {out}/{NETWORK}.pth, which iw3 loads unchanged")
    print(f"filled holes        {out}/filled.png (rows: masked input, holes, filled, ground truth)")
    print(f"metrics             {out}/metrics.json, on a clip that was not used in training:")
    for key, unit in (("masked_psnr", "dB in the holes"), ("psnr", "dB over the frame")):
        before, after = (metrics[name][key] for name in ("untrained", "trained"))
        print(f"                    {before:.2f} untrained -> {after:.2f} trained, {unit}")
    numbers = " -> ".join(f"{eyes[name]:.2f} {name}" for name in ("untrained", "trained"))
    print(f"true second eye     {out}/second-eye/report.html: {numbers}, replicate {eyes['replicate']:.2f}, dB")
    board = Path(sys.executable).with_name("tensorboard")
    print(f"TensorBoard         {os.path.relpath(board)} --logdir {out}/model/logs")
    print("A few minutes on a CPU only show that everything works: a good network takes many hours on a GPU.")


def headline(text: str) -> None:
    """Print the title of a step."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    cli.run(main)
