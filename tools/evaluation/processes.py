"""Measures the clips of a split, on as many processes as there are cores: results are the same for any number."""

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch

from pack.shards.shard import Entry, Index
from tools.cli import UserError
from tools.cli.machine import usable_cores
from tools.cli.signals import starting_workers
from tools.evaluation.clips import measure_clip, read_clip
from tools.evaluation.methods import Method
from tools.evaluation.motion import HAS_CV2
from tools.evaluation.perception import Lpips
from tools.evaluation.summary import Rows
from train.runtime.cpu import prepare_cpu

FEWEST = 8  # records of a process: it takes seconds to start


@dataclass(frozen=True)
class Task:
    """What all processes measure."""

    records: Sequence[tuple[Index, Entry]]
    shown: frozenset[int]  # numbers of the records whose outputs are returned
    methods: Sequence[Method]
    lpips: Lpips | None
    tile: int
    device: torch.device


@dataclass(frozen=True)
class Measured:
    """What was found in a record."""

    rows: Rows | None  # of this clip alone
    outputs: dict[str, np.ndarray] | None  # float (12 3 S-32 S-32) by name, of a clip to show
    left_out: str = ""  # why there are no rows


@dataclass(frozen=True)
class Spent:
    """What a method took for one clip in a process."""

    seconds: float
    memory: int | None
    is_first: bool  # of the process


def choose_processes(workers: int, records: int, device: torch.device) -> int:
    """The number of processes: `workers`, or with 0 one for each core of a CPU that gets FEWEST records, 1 on a GPU."""
    if workers:
        return min(workers, records)
    return max(min(usable_cores(), records // FEWEST), 1) if device.type == "cpu" else 1


def measure_records(task: Task, processes: int) -> Iterator[Measured]:
    """What is found in each record, in their order; the methods' costs grow by what filling took."""
    prepare_cpu(task.device)
    if processes == 1:
        yield from (measure_record(task, number) for number in range(len(task.records)))
        return
    # plain bytes: multiprocessing would share the weights through files, which a process that ends takes along
    content = pickle.dumps(task)
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(content,))
    try:
        with starting_workers():
            results = pool.map(_measure, range(len(task.records)))
        for found, spent in results:
            add_costs(task.methods, spent)
            yield found
    except BrokenProcessPool as error:
        raise UserError(
            f"one of {processes} evaluating processes was killed, perhaps for its memory: pass --workers 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def measure_record(task: Task, number: int) -> Measured:
    """What is found in one record."""
    clip = read_clip(*task.records[number], task.tile, task.device)
    if isinstance(clip, str):
        return Measured(None, None, clip)
    rows = Rows({method.name: [] for method in task.methods})
    outputs = measure_clip(clip, task.methods, task.lpips, rows)
    if number not in task.shown:
        return Measured(rows, None)
    return Measured(rows, {name: frames.cpu().numpy() for name, frames in outputs.items()})


def add_costs(methods: Sequence[Method], spent: dict[str, Spent]) -> None:
    """Add what the methods took for a clip; of the first clips of processes, which warm up, only one is counted."""
    for method in methods:
        if found := spent.get(method.name):
            if not (found.is_first and method.cost.seconds):
                method.cost.seconds.append(found.seconds)
            if found.memory is not None:
                method.cost.memory = max(method.cost.memory or 0, found.memory)


_task: Task


def _begin(task: bytes) -> None:
    """Prepare this process, which uses one core."""
    global _task
    torch.set_num_threads(1)
    if HAS_CV2:
        import cv2  # an extra

        cv2.setNumThreads(1)
    _task = pickle.loads(task)
    prepare_cpu(_task.device)


def _measure(number: int) -> tuple[Measured, dict[str, Spent]]:
    before = {method.name: len(method.cost.seconds) for method in _task.methods}
    found = measure_record(_task, number)
    spent = {
        method.name: Spent(method.cost.seconds[-1], method.cost.memory, before[method.name] == 0)
        for method in _task.methods
        if len(method.cost.seconds) > before[method.name]
    }
    return found, spent
