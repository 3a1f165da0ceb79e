"""The whole way once: real clips become shards, a trained network, its metrics and pictures. `make demo` runs it.

A second run packs nothing again and goes on from the checkpoint, so that it only shows what is there.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError

ROOT = Path(__file__).resolve().parents[1]
CLIPS = {"train": ("bikes.mp4", "cityCC0.mpg"), "eval": ("bigbuckbunny.mp4",)}  # of different origin
NETWORK = "inpaint.light_video_inpaint_v1"
SEED = 1
EPOCHS = 4
TILE = 248  # of the metrics before and after; training sees smaller ones, which are faster
SHOWN = 4  # columns of the contact sheet


@dataclass(frozen=True)
class Config:
    """Pack, train, evaluate and show, with real clips, in a few minutes on a laptop."""

    out: str = "demo"  # folder that gets everything
    clips: str = "clips"  # folder with the clips that tools/clips.py fetched
    steps: int = 120  # optimizer steps of the training, one sequence of each process a step
    processes: int = 1  # training processes

    def __post_init__(self):
        if self.steps < 1 or self.processes < 1:
            raise UserError("--steps and --processes: expected 1 or more")


def main() -> int:
    config = cli.parse(Config)
    out = Path(config.out)
    started = time.monotonic()
    for split, names in CLIPS.items():
        headline(f"packing {', '.join(names)} into {out / 'data' / split}")
        videos = [str(Path(config.clips) / name) for name in names]
        run("pack/main.py", "--video", *videos, "-o", str(out / "data" / split))
    headline(f"training the network of iw3, {config.steps} steps of small tiles")
    train(config, out)
    run("tools/export.py", "--checkpoint", str(out / "model" / f"{NETWORK}.pth"), "-o", str(out / f"{NETWORK}.pth"))
    headline("evaluating the untrained and the trained network")
    metrics = evaluate(out)
    run("tools/peek.py", "-i", str(out / "data" / "train"), "--out", str(out / "shards.png"))
    summarise(out, metrics, time.monotonic() - started)
    return 0


def run(*words: str) -> None:
    """One of our programs; its error has been printed when this raises."""
    status = subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:]]).returncode
    if status:
        raise UserError(f"{words[0]} ended with status {status}, see above")


def train(config: Config, out: Path) -> None:
    """Train under torchrun, or go on when a run is there."""
    flags = {
        "--data-dir": out / "data",
        "--model-dir": out / "model",
        "--loss": "hole_l1",  # the default wants VGG16 weights, a download; the holes' own mean learns in fewer steps
        "--learning-rate": 3e-4,
        "--learning-rate-cycles": 1,
        "--max-epoch": EPOCHS + 1,  # a cosine ends one early
        "--num-samples": 12 * config.processes * max(config.steps // EPOCHS, 1),
        "--backward-step": config.processes,
        "--eval-step": 1,
        "--save-eval-step": 2,
        "--tile": 120,  # padded to 128 by the network, under a fifth of the cost of 256
        "--num-workers": 1,
        "--seed": SEED,
        "--save-every-steps": 20,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(config.processes)]
    done = subprocess.run([sys.executable, *launcher, str(ROOT / "train" / "main.py"), *words, "--resume"])
    if done.returncode:
        raise UserError(f"the training ended with status {done.returncode}, see above")


def evaluate(out: Path) -> dict[str, dict[str, float]]:
    """Metrics of the untrained and the trained network on the same tiles, and the contact sheet of what was filled.

    What an earlier run found of the same network is taken as it is.
    """
    from model.checkpoint import create_network, load_network
    from pack.shards.shard import list_shards
    from tools.cli.files import file_sha256
    from train.data.samples import Records, Samples
    from train.evaluation.evaluate import measure
    from train.objectives.loss import create_loss
    from train.runtime.seeds import generator

    found = out / "metrics.json"
    sha256 = file_sha256(out / f"{NETWORK}.pth")
    if found.exists() and (out / "filled.png").exists():
        known = json.loads(found.read_text())
        if known.get("network") == sha256:
            return known["metrics"]
    networks = {
        "untrained": create_network(NETWORK, generator=generator(SEED, "weights")).eval(),
        "trained": load_network(out / f"{NETWORK}.pth"),
    }
    records = Records(tuple(list_shards(out / "data" / "eval")))
    samples = Samples(records, 12, TILE)
    every = [samples[0, number, number] for number in range(len(records))]
    criterion = create_loss("temporal_l1")
    metrics = {}
    for name, network in networks.items():
        rows = [measure(network, criterion, sample, "cpu")[0] for sample in every]
        metrics[name] = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    write_sheet(out / "filled.png", networks["trained"], every[:: max(len(every) // SHOWN, 1)][:SHOWN])
    found.write_text(json.dumps({"network": sha256, "metrics": metrics}, indent=2) + "\n")
    return metrics


def write_sheet(path: Path, network, samples) -> None:
    """Rows: masked input, holes, filled, ground truth. Columns: the middle frame of each sample."""
    import torch

    from train.evaluation.metrics import as_uint8
    from train.runtime.log import write_picture

    columns = []
    for sample in samples:
        filled = network.infer(sample.frames, sample.holes)
        masked = sample.frames.masked_fill(sample.holes, 0)
        holes = sample.holes.expand_as(sample.frames).float()
        rows = [as_uint8(frames[len(frames) // 2]) for frames in (masked, holes, filled, sample.frames)]
        columns.append(torch.cat(rows))  # (4*S S 3)
    write_picture(path, torch.cat(columns, dim=1))


def summarise(out: Path, metrics: dict[str, dict[str, float]], seconds: float) -> None:
    headline(f"done in {cli.duration(seconds)}")
    print(f"shards              {out}/data/train and {out}/data/eval, shown in {out}/shards.png")
    print(f"network             {out}/{NETWORK}.pth, which iw3 loads as it is")
    print(f"filled holes        {out}/filled.png (rows: masked input, holes, filled, ground truth)")
    print(f"metrics             {out}/metrics.json, on a clip that training has not seen:")
    for key, unit in (("masked_psnr", "dB in the holes"), ("psnr", "dB over the frame"), ("loss", "loss")):
        before, after = (metrics[name][key] for name in ("untrained", "trained"))
        print(f"                    {before:8.4f} untrained -> {after:8.4f} trained, {unit}")
    print(f"TensorBoard         {Path(sys.executable).parent / 'tensorboard'} --logdir {out}/model/logs")
    print("Some minutes on a CPU only show that everything works: a good network takes many hours on a GPU.")


def headline(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    cli.run(main)
