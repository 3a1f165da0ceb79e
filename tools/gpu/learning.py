"""Part d: training of the checkpoint on the films at hand, evaluated before and after on clips of another film."""

import json
import re
from typing import Any

from tools.gpu.data import ready_data
from tools.gpu.work import Row, Work

EPOCHS = 4
RESERVE = 75  # seconds for the evaluation
START = 20  # seconds until a training is under way
LOSS, RATE, LARGEST = "band_l1", 2e-4, 8  # sequences per step
EFFORT = 0.8  # share of the remaining time that is planned for steps


def measure(work: Work) -> None:
    """Train while there is time, and add the gain in holes."""
    ready_data(work)
    best = work.best_batch()
    epochs, batch = (1, 1) if work.tiny else (EPOCHS, min(best.get("batch", 4), LARGEST))
    rate, seconds = best.get("sequences_per_second", 4.0), work.seconds_left - RESERVE
    if not work.tiny and seconds < 2 * START:
        work.add(Row("d", "training", failure=f"only {max(work.seconds_left, 0):.0f} s are left"))
        return
    sequences = 2 if work.tiny else max(int(EFFORT * rate * (seconds - START)) // EPOCHS // batch, 1) * batch
    out = train(work, epochs, sequences, batch, None if work.tiny else seconds)
    notes = {"sequences": epochs * sequences, "batch": batch, "complete": "stopped by" not in out}
    rates = re.findall(r"([\d.]+) sequences/s", out)
    evaluate(work, notes | ({"sequences_per_second": float(rates[-1])} if rates else {}))


def train(work: Work, epochs: int, sequences: int, batch: int, seconds: float | None) -> str:
    """The output of a training whose schedule ends in time; one that is slower than planned is stopped."""
    return work.run(
        "train/main.py", "-i", work.data, "--model-dir", work.folder / "model", "--checkpoint-file", work.checkpoint,
        "--device", work.device.type, "--loss", LOSS, "--augment", "strong", "--ema-model", "--ema-decay", 0.99,
        "--tile", 64 if work.tiny else 256, "--max-epoch", epochs + 1, "--learning-rate-cycles", 1,
        "--learning-rate", RATE, "--num-samples", 12 * sequences, "--backward-step", batch, "--batch-size", batch,
        "--skip-eval", "--num-workers", 1 if work.tiny else -1, "--seed", 1,
        seconds=seconds,
    )  # fmt: skip


def evaluate(work: Work, notes: dict[str, Any]) -> None:
    """Add the PSNR in holes before and after, and their paired difference with its interval."""
    trained = next((work.folder / "model").glob("*.checkpoint.pth"))  # evaluation takes its averaged weights
    out = work.folder / "evaluation"
    work.run(
        "tools/evaluate.py", "-i", work.data / "eval", "--checkpoint", work.checkpoint, trained, "-o", out,
        "--baselines", "none", "--device", work.device.type, "--tile", 80 if work.tiny else 256,
        "--records", 1 if work.tiny else 24, "--pictures", 1,
    )  # fmt: skip
    methods = json.loads((out / "metrics.json").read_text())["methods"]
    networks = [method for method in methods.values() if method["kind"] == "network"]
    before, after = (method["means"]["hole_psnr"]["mean"] for method in networks)
    work.add(Row("d", "PSNR in holes, before", before, "dB"))
    work.add(Row("d", "PSNR in holes, after", after, "dB", notes=notes))
    gap = networks[1]["against_first_checkpoint"]["hole_psnr"]
    interval = {name: gap[name] for name in ("low", "high", "clips") if gap.get(name) is not None}
    work.add(Row("d", "PSNR in holes, gain", gap["mean"], "dB", notes=interval))
