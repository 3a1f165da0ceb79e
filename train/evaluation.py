"""The evaluation split through the network: every record once, whichever process takes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from model.light_video_inpaint import OFFSET
from train.dist import Group
from train.log import eval_picture, write_picture
from train.metrics import hole_share, sequence_metrics
from train.stop import Stop
from train.stream import Sample, Samples, Stream, eval_slots

SHOWN = 4  # pictures that TensorBoard gets


@dataclass(frozen=True)
class Result:
    """What an evaluation found."""

    metrics: dict[str, float]  # means over all records; "loss" is the criterion
    pictures: dict[int, torch.Tensor]  # uint8 (H W 3) by record, the first few
    faults: tuple = ()


def trim(frames: torch.Tensor) -> torch.Tensor:  # (T C S S) -> (T C S-32 S-32)
    """What the network's output covers: it leaves out 16 pixels at each side."""
    return frames[..., OFFSET:-OFFSET, OFFSET:-OFFSET]


def evaluate(
    network, criterion, samples: Samples, group: Group, workers: int, stop: Stop, picture_step: int, folder: Path
):
    """The Result over all records, the same at any number of processes; None when a signal came.

    Every `picture_step`-th record is written to folder/K.png.
    """
    count = len(samples.records)
    stream = Stream(samples, workers).samples(eval_slots(count, group.rank, group.world))
    rows, pictures, faults = [], {}, []
    network.eval()
    try:
        for turn in range(-(-count // group.world)):  # as many turns on every rank, so that all of them meet
            if group.any(bool(stop.name)):
                return None
            if turn * group.world + group.rank < count:
                sample = next(stream)
                metrics, picture = measure(network, criterion, sample, group.device)
                rows.append((sample.position, metrics))
                faults.extend(sample.faults)
                if sample.position % picture_step == 0:
                    write_picture(folder / f"{sample.position}.png", picture)
                    if sample.position // picture_step < SHOWN:
                        pictures[sample.position] = picture
    finally:
        network.train()
    return _collect(group, rows, pictures, faults)


@torch.inference_mode()
def measure(network, criterion, sample: Sample, device) -> tuple[dict[str, float], torch.Tensor]:
    """The metrics of one sequence and its picture."""
    frames, holes = sample.frames.to(device), sample.holes.to(device)
    masked, mask = network.preprocess(frames, holes)
    output = network(masked, mask).float()
    target, where = trim(frames), trim(holes)
    terms = criterion(output, target, where)
    metrics = {"loss": sum(terms.values()), **sequence_metrics(output, target, where), "hole_share": hole_share(where)}
    picture = eval_picture(trim(masked), output, target)
    return {name: float(value) for name, value in metrics.items()}, picture


def _collect(group: Group, rows, pictures, faults) -> Result:
    """One result of all processes' rows, summed in the order of the records whoever measured them."""
    gathered = group.gather_objects((rows, pictures, faults))
    every = dict(row for part in gathered for row in part[0])
    metrics = {name: sum(every[k][name] for k in sorted(every)) / len(every) for name in every[0]}
    return Result(metrics, dict(_merged(part[1] for part in gathered)), tuple(f for part in gathered for f in part[2]))


def _merged(parts) -> Iterator:
    return iter(sorted(item for part in parts for item in part.items()))
