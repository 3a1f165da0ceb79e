"""Distributes videos: to this process, to several processes of this machine, or to the ranks of a torchrun job.

Each video is packed by one process, and its shards do not depend on which one. Nothing is retried here.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from model.device import choose_device
from model.mask_mlbw import load_mask_network
from pack.config import Config
from pack.depth.models import load_depth
from pack.packing import Outcome, VideoTask, pack_videos
from pack.pipeline import Models
from pack.report import ProgressReport
from tools.cli import UserError
from tools.cli.files import remove_temporaries
from tools.cli.machine import memory_bytes, usable_cores
from tools.cli.program import users_line
from tools.cli.signals import starting_workers

MEMORY = 4 * 2**30  # bytes for one process: a few clips of full HD, their depth and holes, and the libraries
CLIP_MEMORY = 2 * 2**30  # and for each clip that it computes at once
GPU_CLIPS = 2  # holes of one are computed while the depth of the other is


@dataclass(frozen=True)
class LocalRank:
    """Which process of this machine it is, and how many there are: decides its GPU or its share of the cores."""

    number: int
    count: int


@dataclass(frozen=True)
class ClipDone:
    """A worker packed a clip of this video."""

    video: str


@dataclass(frozen=True)
class VideoDone:
    """A worker is done with a video."""

    outcome: Outcome


@dataclass(frozen=True)
class WorkerFailed:
    """A worker ended because of an error that a user can fix, such as a lack of memory, or because of a bug."""

    message: str  # one line, or the traceback
    is_bug: bool


Message = ClipDone | VideoDone | WorkerFailed


class WorkerCrashed(RuntimeError):
    """A bug in a worker process; the message is its traceback."""


def pack(tasks: list[VideoTask], config: Config, settings: dict[str, Any]) -> list[Outcome]:
    """The outcome of each video, packed by this process or by several processes of this machine."""
    done = [
        Outcome(task.path.name, task.state.next_clip, task.state.records, skipped=True)
        for task in tasks
        if task.state.done
    ]
    missing = [task for task in tasks if not task.state.done]
    progress = ProgressReport(missing, config)
    for outcome in done:
        progress.video_done(outcome)
    if not missing:
        return done
    local_rank, local_ranks = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    processes = process_count(config, len(missing))
    if processes == 1:
        models = load_models(config, LocalRank(local_rank, local_ranks))
        fresh = pack_videos(missing, config, settings, models, progress.clip_done)
    else:
        ranks = [LocalRank(local_rank * processes + n, local_ranks * processes) for n in range(processes)]
        fresh = pack_on_workers(missing, config, settings, ranks, progress.clip_done)
    return done + [progress.video_done(outcome) for outcome in fresh]


def load_models(config: Config, rank: LocalRank) -> Models:
    """The networks, on this process's GPU or with its share of the cores."""
    # The result of PyTorch's sums depends on its number of threads, so it gets one; our threads share frames and rows
    torch.set_num_threads(1)
    threads = max(1, usable_cores() // rank.count)
    torch.backends.cudnn.deterministic = True
    device = choose_device(config.device, rank.number)
    clips = max(1, min(threads, memory_bytes() // rank.count // CLIP_MEMORY)) if device.type == "cpu" else GPU_CLIPS
    depth = None if config.depth else load_depth(config.model_type, config.resolution, device, config.batch_size)
    mask = load_mask_network(config.mask_model, device) if config.mask_model else None
    return Models(depth, mask, device, clips, max(1, threads // clips))


def process_count(config: Config, videos: int) -> int:
    """How many processes pack; each packs one video at a time."""
    if config.max_workers or "RANK" in os.environ:
        return min(config.max_workers or 1, videos)
    gpus = 0 if config.device == "cpu" else torch.cuda.device_count()
    return max(1, min(gpus or min(usable_cores() // 2, memory_bytes() // MEMORY), videos))


def pack_on_workers(
    tasks: list[VideoTask],
    config: Config,
    settings: dict[str, Any],
    ranks: list[LocalRank],
    on_clip: Callable[[str], None],
) -> Iterator[Outcome]:
    """Pack the videos on several processes, which take one after another; outcomes come as they are ready."""
    context = multiprocessing.get_context("spawn")  # a fork would share CUDA, threads and decoders
    workers = {}  # by a connection of its own: of a queue, one that is killed may hold the lock that all need
    try:
        with starting_workers():
            for rank in ranks:
                ours, theirs = context.Pipe()
                workers[ours] = context.Process(target=work, args=(theirs, config, settings, rank), daemon=True)
                workers[ours].start()
                theirs.close()  # so that the end of the worker is seen
        yield from distribute(tasks, workers, on_clip)
    finally:
        for worker in workers.values():
            if worker.pid:
                worker.terminate()
        for worker in workers.values():
            if worker.pid:
                worker.join()


def distribute(
    tasks: Sequence[VideoTask], workers: Mapping[Connection, BaseProcess], on_clip: Callable[[str], None]
) -> Iterator[Outcome]:
    """Give each worker one video after another; the outcomes that they send, until all videos are done.

    Raises UserError where a worker was killed or met an error that a user can fix, WorkerCrashed for a bug.
    """
    todo, left, alive = deque(tasks), len(tasks), set(workers)
    for worker in workers:
        give(worker, todo)
    while left:
        if not alive:  # the others packed what they could
            status = next(worker.exitcode for worker in workers.values() if worker.exitcode)
            raise UserError(
                f"a packing process ended with status {status} (-9: out of memory?): "
                f"run the same command again, with fewer --max-workers"
            )
        for worker in wait(alive):
            match read(worker):
                case ClipDone(video):
                    on_clip(video)
                case VideoDone(outcome):
                    left -= 1
                    give(worker, todo)
                    yield outcome
                case WorkerFailed(text, is_bug):
                    raise WorkerCrashed(f"in a packing process:\n{text}") if is_bug else UserError(text)
                case None:
                    alive.remove(worker)
                    workers[worker].join()


def give(worker: Connection, todo: "deque[VideoTask]") -> None:
    """Send a worker the next video, or None, which ends it. A video that it cannot take any more stays for others."""
    task = todo.popleft() if todo else None
    try:
        worker.send(task)
    except OSError:  # it was killed
        todo.extend([task] if task else [])


def read(worker: Connection) -> Message | None:
    """What a worker has sent; None where it has ended, perhaps in the middle of a message."""
    try:
        return worker.recv()
    except (EOFError, OSError):
        return None


def work(main: Connection, config: Config, settings: dict[str, Any], rank: LocalRank) -> None:
    """The main function of a worker process: pack videos until there are none left."""
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        models = load_models(config, rank)
        for task in iter(main.recv, None):  # one at a time: if this process dies, only that one is not packed
            for outcome in pack_videos([task], config, settings, models, lambda video: main.send(ClipDone(video))):
                main.send(VideoDone(outcome))
    except Exception as error:  # raised again by the main process, in `distribute`
        line = users_line(error)
        with contextlib.suppress(OSError):  # it has been killed
            main.send(WorkerFailed(line or traceback.format_exc(), is_bug=not line))


def end(*_: object) -> None:
    """End a worker at once: an exception could be lost, as Python ignores those raised while it deletes an object."""
    remove_temporaries()
    os._exit(143)


def exit_with_parent() -> None:
    """End this process when the main process is killed: it would go on writing files that the next run writes."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)  # sys.exit would end this thread alone


def are_joined(ranks: int) -> bool:
    """Whether the ranks are one torchrun job, which can communicate; the tasks of a job array cannot."""
    return ranks > 1 and "MASTER_ADDR" in os.environ


def gather(outcomes: list[Outcome], rank: int, ranks: int) -> list[Outcome]:
    """The outcomes of all ranks, on every rank, after the last rank is done.

    torchrun kills the whole job as soon as one rank ends with an error, so none may end before the others are done.
    """
    if not are_joined(ranks):
        return outcomes
    store, _, _ = next(torch.distributed.rendezvous("env://", rank, ranks, timeout=timedelta(days=365)))
    store.set(f"packed {rank}", json.dumps([asdict(outcome) for outcome in outcomes]))
    return [Outcome(**fields) for other in range(ranks) for fields in json.loads(store.get(f"packed {other}"))]
