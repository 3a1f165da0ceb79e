"""Distributes videos: to this process, to several processes of this machine, or to the ranks of a torchrun job.

Each video is packed by one process, and its shards do not depend on which one. Nothing is retried here.
"""

import json
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
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
    todo, messages = context.Queue(), context.Queue()
    for task in [*tasks, *[None] * len(ranks)]:  # None ends a worker
        todo.put(task)
    workers = [
        context.Process(target=work, args=(todo, messages, config, settings, rank), daemon=True) for rank in ranks
    ]
    try:
        for worker in workers:
            worker.start()
        yield from receive(messages, workers, len(tasks), on_clip)
    finally:
        for worker in workers:
            if worker.pid:
                worker.terminate()
        for worker in workers:
            if worker.pid:
                worker.join()


def receive(
    messages: "Queue[Message]", workers: Sequence[BaseProcess], videos: int, on_clip: Callable[[str], None]
) -> Iterator[Outcome]:
    """The outcomes that the workers send, until all videos are done.

    Raises UserError where a worker was killed or met an error that a user can fix, WorkerCrashed for a bug.
    """
    while videos:
        try:
            message = messages.get(timeout=1)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):  # the others packed what they could
                status = next(worker.exitcode for worker in workers if worker.exitcode)
                raise UserError(
                    f"a packing process ended with status {status} (-9: out of memory?): "
                    f"run the same command again, with fewer --max-workers"
                ) from None
            continue
        match message:
            case ClipDone(video):
                on_clip(video)
            case VideoDone(outcome):
                videos -= 1
                yield outcome
            case WorkerFailed(text, is_bug):
                raise WorkerCrashed(f"in a packing process:\n{text}") if is_bug else UserError(text)


def work(
    todo: "Queue[VideoTask | None]",
    messages: "Queue[Message]",
    config: Config,
    settings: dict[str, Any],
    rank: LocalRank,
) -> None:
    """The main function of a worker process: pack videos until there are none left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main process ends the workers
    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        models = load_models(config, rank)
        for task in iter(todo.get, None):  # one at a time: if this process dies, only that one is not packed
            for outcome in pack_videos([task], config, settings, models, lambda video: messages.put(ClipDone(video))):
                messages.put(VideoDone(outcome))
    except Exception as error:  # raised again by the main process, in `receive`
        line = users_line(error)
        messages.put(WorkerFailed(line or traceback.format_exc(), is_bug=not line))


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
