"""Measures how well networks fill holes: against ground truth and baselines, by hole width, with intervals."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import check_writable
from tools.evaluation.overlap import USUAL, parse_overlap

if TYPE_CHECKING:  # torch takes seconds to import, which --help must not wait for
    import torch

    from pack.shards.shard import Entry, Index
    from tools.evaluation.perception import Lpips
    from tools.evaluation.processes import Task
    from tools.evaluation.report_page import Picture
    from tools.evaluation.summary import Rows


@dataclass(frozen=True)
class Config:
    """Measure checkpoints and baselines (simple fills) on a split, and write a report."""

    ALIASES: ClassVar = {"data": ("-i",), "out": ("-o",)}
    checkpoint: tuple[str, ...] = ()  # weight files or training checkpoints, ours or iw3's, or base
    # (default: none, measure baselines only)
    weights: Literal["averaged", "raw"] = "averaged"  # which weights of a checkpoint that averages them
    data: str = "data/eval"  # split to measure on: folder or URL
    out: str = "evaluation"  # output folder for report.html, metrics.json and metrics.csv
    baselines: tuple[str, ...] = ("all",)  # all, none, or names of baselines
    tile: int = 256  # side of the tile of each record that is used, pixels: the tile with the most hole pixels;
    # its outer 16 pixels are context and not measured
    overlap_frames: tuple[int, ...] = USUAL  # leading and trailing frames of context of the queue of 12, or one number
    # for both; other numbers than 3 3 are measured beside them
    brief: bool = False  # measure each checkpoint on 12 frames alone: not streamed as in iw3, and no untrained network
    exclude: str = ""  # file with keys of records to leave out, one per line, in addition to the split's excluded.txt
    records: int = 0  # number of records, evenly spaced over the split (0: all)
    pictures: int = 4  # number of clips shown in the report
    weights_dir: str | None = None  # folder with the AlexNet weights of LPIPS (default: torch's hub cache)
    device: str = "auto"  # auto, cpu or cuda
    workers: int = 0  # processes that measure (0: one for each core, if each gets 8 records; 1 on a GPU)
    amp_float: Literal["fp32", "auto"] = "fp32"  # precision of networks; auto: bf16 where the processor has it, which
    # is faster and changes the PSNR of very good fills by up to 0.1 dB
    seed: int = 0  # random seed of the confidence intervals and of the untrained network

    def __post_init__(self):
        for name, minimum in (("tile", 64), ("records", 0), ("pictures", 0), ("workers", 0)):
            if getattr(self, name) < minimum:
                raise UserError(f"--{name} {getattr(self, name)}: expected {minimum} or more")
        if parse_overlap(self.overlap_frames) != USUAL and self.brief:
            raise UserError("--overlap-frames is of streamed networks: leave --brief out")


def main() -> None:
    config = cli.parse(Config)
    check_writable(Path(config.out))
    from model.checkpoint import which_weights
    from model.device import choose_device
    from tools.evaluation.methods import choose_baselines, load_methods
    from tools.evaluation.processes import Task
    from tools.evaluation.report import write_report

    device = choose_device(config.device, 0)
    shards, excluded = list_used_shards(config.data, config.exclude)
    records = choose_records(shards, config.records, config.data)
    baselines, notes = choose_baselines(config.baselines)
    half, overlap = config.amp_float == "auto", parse_overlap(config.overlap_frames)
    networks = load_methods(config.checkpoint, device, config.seed, config.weights, half, overlap, config.brief)
    methods = [*networks, *baselines]
    lpips, missing = find_lpips(config, device)
    shown = frozenset(i * len(records) // max(config.pictures, 1) for i in range(config.pictures))
    task = Task(records, shown, methods, lpips, config.tile, device)
    rows, pictures, unmeasured = measure_all(task, config)
    kinds = [(path, which_weights(path, config.weights)) for path in config.checkpoint]
    averaging = [f"{path}{words}" for path, words in kinds if words]
    trained = warn_of_training_films(config.checkpoint, shards)
    notes = [*trained, *averaging, *excluded, *notes, *missing, *unmeasured, *rows.left_out()]
    write_report(Path(config.out), rows, methods, pictures, notes, asdict(config))


def warn_of_training_films(checkpoints: "Sequence[str]", shards: "Sequence[Index]") -> list[str]:
    """Lines for each checkpoint that was trained on films of this split, or on other shots of them."""
    from model.checkpoint import read_file
    from tools.lineage.made_of import lineage_of, seen_by_other_shots, seen_in_training

    films = [shard.source | {"shots": shard.config.get("shots", "all")} for shard in shards]
    lines = []
    for path in checkpoints:
        found = lineage_of(read_file(path))
        if names := seen_in_training(found, films):
            lines.append(f"{path} was trained on films of this split: {', '.join(names)}")
        if names := seen_by_other_shots(found, films):
            lines.append(f"{path} was trained on other shots of films of this split: {', '.join(names)}")
    return lines


def list_used_shards(data: str, exclude: str) -> "tuple[list[Index], list[str]]":
    """The shards of a split without its excluded records, and a line for each list that excluded some."""
    from pack.shards.exclusion import leave_out_listed, left_out_keys, read_keys, unknown_keys
    from pack.shards.location import parse_location
    from pack.shards.shard import list_shards

    others = read_keys(Path(exclude)) if exclude else frozenset()
    split = parse_location(data)
    shards, lines = leave_out_listed(split, list_shards(split), others)
    return shards, lines + unknown_keys(Path(exclude), others - left_out_keys(shards))


def choose_records(shards: "Sequence[Index]", count: int, data: str) -> "list[tuple[Index, Entry]]":
    """All records of the shards (count 0), or `count` of them from first to last. Raises UserError without any."""
    from pack.shards.exclusion import refuse_empty

    refuse_empty(data, shards)
    records = [(shard, entry) for shard in shards for entry in shard.records]
    count = min(count or len(records), len(records))
    return [records[round(i * (len(records) - 1) / max(count - 1, 1))] for i in range(count)]


def find_lpips(config: Config, device: "torch.device") -> "tuple[Lpips | None, list[str]]":
    """LPIPS, or None and a line that says why it is left out."""
    from tools.evaluation.perception import load_lpips

    try:
        return load_lpips(config.weights_dir, device), []
    except UserError as error:
        return None, [f"LPIPS is left out: {error}"]


def measure_all(task: "Task", config: Config) -> "tuple[Rows, list[Picture], list[str]]":
    """The measures of all methods on all clips, (key, outputs) of the clips to show, and a line per unmeasured record.

    Raises UserError when no record can be measured.
    """
    import torch

    from tools.evaluation.processes import choose_processes, measure_records
    from tools.evaluation.summary import Rows

    rows = Rows({method.name: [] for method in task.methods}, [], config.seed)
    pictures, unmeasured = [], []
    progress = cli.Progress(len(task.records), "records")
    processes = choose_processes(config.workers, len(task.records), task.device)
    for number, found in enumerate(measure_records(task, processes)):
        if found.rows:
            rows.extend(found.rows)
        else:
            unmeasured.append(found.left_out)
            print(found.left_out, file=sys.stderr)
        if found.outputs:
            outputs = {name: torch.from_numpy(frames) for name, frames in found.outputs.items()}
            pictures.append((task.records[number][1].key, outputs))
        progress.update(number + 1)
    progress.close()
    if not rows.clips:
        none = f"none of {plural(len(task.records), 'record')} can be measured"
        raise UserError(f"{config.data}: {none}, the last one because: {unmeasured[-1]}")
    return rows, pictures, unmeasured


if __name__ == "__main__":
    cli.run(main)
