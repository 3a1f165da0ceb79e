"""Writes the network of a weight file or training checkpoint, iw3's or ours, to a file that iw3 loads."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError
from tools.cli.files import check_result

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Config:
    """Export a network for iw3."""

    checkpoint: str  # weight file or training checkpoint, iw3's or ours, or base
    out: str  # output weight file
    ema: bool = True  # export the averaged weights of a training checkpoint, which evaluation uses, if it has any;
    # --no-ema: the weights of the last step
    half: bool = False  # store weights as float16, half the size; loading converts them to float32

    blend: tuple[str, ...] = ()  # networks of the same architecture whose weights are averaged in, as FILE=SHARE; the
    # checkpoint has what is left of 1. Of a network that was fine-tuned and its start: old skill beside the new one

    ALIASES: ClassVar = {"out": ("-o",)}


def main():
    config = cli.parse(Config)
    from model.checkpoint import load_network, locate, network_name, read_file, write_checkpoint
    from tools.lineage.blend import blend, read_shares

    check_result(config.out)
    out, shares = Path(config.out), read_shares(config.blend)
    for path in (config.checkpoint, *shares):
        if out.exists() and locate(path).exists() and os.path.samefile(out, locate(path)):
            raise UserError(f"{out} would overwrite the checkpoint that is exported: pass another -o")
    payload = read_file(config.checkpoint)
    net = load_network(config.checkpoint, weights="averaged" if config.ema else "raw")
    weights, origin = choose_weights(payload, config.ema)
    net.load_state_dict(weights)  # float32, in the network's order
    if shares:
        payload = blend(net, payload, config.checkpoint, shares, "averaged" if config.ema else "raw")
    file = as_file(net, payload, config.half)
    check_finite(file["state_dict"], config.checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(out, file)
    load_network(out)
    count = sum(weight.numel() for weight in net.state_dict().values())
    kind = "float16" if config.half else "float32"
    print(f"{out}: {network_name(net)}, {count:,} parameters, {kind}, {out.stat().st_size:,} bytes")
    print(f"from {config.checkpoint}: {origin}{describe_progress(payload)}")
    for path, share in shares.items():
        print(f"and {100 * share:g} % of {path}")


def choose_weights(payload: dict[str, Any], ema: bool = True) -> "tuple[dict[str, torch.Tensor], str]":
    """The weights of a file to export, and a description of them.

    With `ema` they are those that evaluation used: the moving average, or what a schedule-free optimizer averages.
    """
    from model.checkpoint import averages

    ours = payload.get("backfill")
    found = averages(payload) if ema else {}
    if not found:
        return payload["state_dict"], "weights of the last step" if ours else "weights as stored"
    is_moving = isinstance(ours.get("ema"), dict) and ours["ema"].get("weights") is found
    return found, f"{'moving' if is_moving else 'schedule-free'} average of the weights"


def as_file(net: Any, payload: dict[str, Any], half: bool) -> dict[str, Any]:
    """What the exported file holds; it follows from the checkpoint alone, so the same one gives the same bytes."""
    from model.checkpoint import describe

    file = describe(net, payload.get("train_kwargs"))
    file["updated_at"] = payload.get("updated_at", file["updated_at"])
    if half:
        for name, weight in file["state_dict"].items():
            file["state_dict"][name] = weight.half()
    return file


def check_finite(weights: "dict[str, torch.Tensor]", path: str) -> None:
    """Raise UserError where a weight is no finite number."""
    from model.checkpoint import first_not_finite

    if name := first_not_finite(weights):
        raise UserError(f"{path}: {name} holds NaN or infinity as {weights[name].dtype}: use an earlier checkpoint")


def describe_progress(payload: dict[str, Any]) -> str:
    """How long a training checkpoint was trained, and what else it holds; empty for a weight file."""
    weight_file = ("nunif_model", "name", "updated_at", "kwargs", "train_kwargs", "state_dict")
    more = [cli.quoted(key) for key in payload if key not in weight_file]
    last, lowest = payload.get("last_epoch"), payload.get("best_loss")
    epoch = f", {last} epochs trained" if type(last) is int else ""
    best = f", lowest evaluation {lowest:.6g}" if type(lowest) is float and lowest < 1e9 else ""
    return epoch + best + (f"; left out: {', '.join(more)}" if more else "")


if __name__ == "__main__":
    cli.run(main)
