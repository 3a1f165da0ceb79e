"""Evaluates a network on every record of the evaluation split, shared among the processes of a job."""

from dataclasses import dataclass
from pathlib import Path

import torch

from model.light_video_inpaint import OFFSET, LightVideoInpaint
from tools.cli import UserError
from train.data.augment import to_device_batch
from train.data.samples import BadRecord, Sample, Samples
from train.data.stream import SOURCE, Stream, eval_slots
from train.evaluation.fills import nearest_frame, replicate
from train.evaluation.metrics import hole_share, moments, sequence_metrics
from train.evaluation.pictures import eval_picture, write_picture
from train.objectives.loss import Loss
from train.runtime.dist import Group
from train.runtime.signals import Stop, Unanswered

SHOWN = 4  # images written to TensorBoard
FILLS = {"replicate": replicate, "nearest_frame": nearest_frame}  # baselines that the network is compared with


@dataclass(frozen=True)
class Result:
    """The result of an evaluation."""

    metrics: dict[str, float]  # means over all records; "loss" is the criterion
    pictures: dict[int, torch.Tensor]  # uint8 (H W 3) by record number, the first few
    bad_records: tuple[BadRecord, ...] = ()  # records that were left out


@dataclass(frozen=True)
class Share:
    """What one process found, by record number."""

    rows: dict[int, dict[str, float]]  # metrics of a record
    pictures: dict[int, torch.Tensor]
    bad_records: list[BadRecord]


def trim(frames: torch.Tensor) -> torch.Tensor:  # (T C S S) -> (T C S-32 S-32)
    """The area of the network's output, which crops 16 pixels at each side."""
    return frames[..., OFFSET:-OFFSET, OFFSET:-OFFSET]


def evaluate(
    network: LightVideoInpaint,
    criterion: Loss,
    samples: Samples,
    group: Group,
    workers: int,
    stop: Stop,
    picture_step: int,
    folder: Path | None,
) -> Result | None:
    """The Result over all records, the same with any number of processes; None when a signal stops the evaluation.

    Every `picture_step`-th record K is written as an image to folder/K.png, if there is a folder. Raises UserError when
    no record can be used.
    """
    count = len(samples.records)
    stream = Stream(samples, workers)
    mine = stop.bounded(stream(eval_slots(count, group.rank, group.world_size)), SOURCE)
    rows, pictures, bad_records = {}, {}, []
    network.eval()
    try:
        for first in range(0, count, group.world_size):  # as many iterations on every rank, for `any` below
            if group.any(bool(stop.name)):
                return None
            number = first + group.rank
            found = next(mine) if number < count else None
            if isinstance(found, BadRecord):
                bad_records.append(found)
            elif found:
                rows[number], picture = measure(network, criterion, found, group.device)
                if folder and number % picture_step == 0:
                    write_picture(folder / f"{number}.png", picture)
                    if number // picture_step < SHOWN:
                        pictures[number] = picture
    except Unanswered:
        if group.world_size > 1:  # the others wait for this process
            raise
        return None
    finally:
        network.train()
        stream.close()
    return _merge(group.gather_objects(Share(rows, pictures, bad_records)))


@torch.inference_mode()
def measure(
    network: LightVideoInpaint, criterion: Loss, sample: Sample, device: torch.device | str
) -> tuple[dict[str, float], torch.Tensor]:
    """The metrics of one sequence, and its image as of `eval_picture`."""
    frames, holes = (part[0] for part in to_device_batch([sample], device))
    masked, mask = network.preprocess(frames, holes)
    output = network(masked, mask).float()
    target, where = trim(frames), trim(holes)
    of_target = moments(target)
    terms = criterion(output, target, where)
    metrics = {
        "loss": sum(terms.values()),
        **sequence_metrics(output, target, where, of_target),
        "hole_share": hole_share(where),
    }
    for name, fill in FILLS.items():
        simple = sequence_metrics(trim(fill(frames.masked_fill(holes, 0), holes)), target, where, of_target)
        metrics |= {f"{metric}_{name}": value for metric, value in simple.items() if metric.startswith("masked_")}
    picture = eval_picture(trim(masked), output, target)
    return {name: float(value) for name, value in metrics.items()}, picture


def _merge(shares: list[Share]) -> Result:
    """The result of all processes, summed in the order of records so that it does not depend on their number."""
    rows = {number: row for share in shares for number, row in share.rows.items()}
    pictures = {number: picture for share in shares for number, picture in share.pictures.items()}
    bad_records = tuple(record for share in shares for record in share.bad_records)
    if not rows:
        last = bad_records[-1]
        raise UserError(
            f"no record for evaluation can be used, the last is in {last.shard}: {last.reason}; "
            f"copy or pack the evaluation split again"
        )
    names = rows[min(rows)]
    metrics = {name: sum(rows[number][name] for number in sorted(rows)) / len(rows) for name in names}
    return Result(metrics, {number: pictures[number] for number in sorted(pictures)}, bad_records)
