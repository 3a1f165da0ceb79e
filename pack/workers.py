"""Who packs which video: one process, several on this machine, or the ranks of a torchrun job.

A video is packed by one process, and its shards do not depend on which. Nothing is retried here.
"""

import json
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from multiprocessing.connection import wait
from typing import Any

import torch

from model.device import choose_device
from model.mask_mlbw import load_mask_network
from pack.config import Config
from pack.depth.models import load_depth
from pack.film import Film, Outcome, pack_films
from pack.pipeline import Models
from pack.report import Board
from tools.cli import UserError
from tools.cli.machine import memory_bytes, usable_cores

MEMORY = 4 * 2**30  # bytes for one process: some clips of full HD, their depth and holes, and the libraries
CLIP_MEMORY = 2 * 2**30  # and for each clip that it computes at once
GPU_CLIPS = 2  # one's holes are found while the other's depth is computed


def pack(films: list[Film], config: Config, settings: dict[str, Any]) -> list[Outcome]:
    """What became of each film, packed by this process or by several of this machine."""
    done = [
        Outcome(film.path.name, film.state.next_clip, film.state.records, skipped=True)
        for film in films
        if film.state.done
    ]
    todo = [film for film in films if not film.state.done]
    board = Board(todo, config)
    for outcome in done:
        board.show(outcome)
    if not todo:
        return done
    local_rank, local_ranks = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    processes = process_count(config, len(todo))
    if processes == 1:
        fresh = pack_films(todo, config, settings, load_models(config, local_rank, local_ranks), board.tell)
    else:
        places = [(local_rank * processes + number, local_ranks * processes) for number in range(processes)]
        fresh = pack_on_workers(todo, config, settings, places, board.tell)
    return done + [board.show(outcome) for outcome in fresh]


def load_models(config: Config, number: int, processes: int) -> Models:
    """The networks, on this process's GPU or with its share of the cores."""
    # PyTorch's sums are rounded by how many threads share them, so it has one; we share whole frames and rows
    torch.set_num_threads(1)
    threads = max(1, usable_cores() // processes)
    torch.backends.cudnn.deterministic = True
    device = choose_device(config.device, number)
    clips = max(1, min(threads, memory_bytes() // processes // CLIP_MEMORY)) if device.type == "cpu" else GPU_CLIPS
    depth = load_depth(config.model_type, config.resolution, device, config.batch_size)
    mask = load_mask_network(config.mask_model, device) if config.mask_model else None
    return Models(depth, mask, device, clips, max(1, threads // clips))


def process_count(config: Config, films: int) -> int:
    """How many processes pack, each with a film at a time."""
    if config.max_workers or "RANK" in os.environ:
        return min(config.max_workers or 1, films)
    gpus = 0 if config.device == "cpu" else torch.cuda.device_count()
    return max(1, min(gpus or min(usable_cores() // 2, memory_bytes() // MEMORY), films))


def pack_on_workers(
    films: list[Film],
    config: Config,
    settings: dict[str, Any],
    places: list[tuple[int, int]],
    tell: Callable[[str], None],
) -> Iterator[Outcome]:
    """Pack the films on several processes, which take one after another; outcomes come as they are ready."""
    context = multiprocessing.get_context("spawn")  # a fork would share CUDA, threads and decoders
    tasks, news = context.Queue(), context.Queue()
    for film in [*films, *[None] * len(places)]:
        tasks.put(film)
    workers = [
        context.Process(target=work, args=(tasks, news, config, settings, place), daemon=True) for place in places
    ]
    try:
        for worker in workers:
            worker.start()
        yield from listen(news, workers, len(films), tell)
    finally:
        for worker in workers:
            if worker.pid:
                worker.terminate()
        for worker in workers:
            if worker.pid:
                worker.join()


def listen(news, workers, films: int, tell: Callable[[str], None]) -> Iterator[Outcome]:
    """What the workers say until all films are done."""
    while films:
        try:
            kind, what = news.get(timeout=1)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):  # the others packed what they could
                status = next(worker.exitcode for worker in workers if worker.exitcode)
                raise UserError(
                    f"a packing process ended with status {status} (-9: out of memory?): "
                    f"run the same command again, with fewer --max-workers"
                ) from None
            continue
        if kind == "clip":
            tell(what)
        elif kind == "fatal":
            raise UserError(what)
        else:
            films -= 1
            yield what


def work(tasks, news, config: Config, settings: dict[str, Any], place: tuple[int, int]) -> None:
    """A worker's life: take a film, pack it, say what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all processes; the first one ends the others
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        models = load_models(config, *place)
        for film in iter(tasks.get, None):  # one at a time, because one that waited here would be lost to the others
            for outcome in pack_films([film], config, settings, models, lambda video: news.put(("clip", video))):
                news.put(("outcome", outcome))
    except (UserError, OSError) as error:
        news.put(("fatal", " ".join(str(error).split())))


def end_with_parent() -> None:
    """A first process that is killed leaves no one behind who writes where its successor will write."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def are_joined(ranks: int) -> bool:
    """Whether the ranks are one job of torchrun's; those of a job array know nothing of each other."""
    return ranks > 1 and "MASTER_ADDR" in os.environ


def gather(outcomes: list[Outcome], rank: int, ranks: int) -> list[Outcome]:
    """The outcomes of all ranks, on every rank, when the last one has ended.

    torchrun ends the whole job as soon as one rank ends with an error, so none may leave before the others are done.
    """
    if not are_joined(ranks):
        return outcomes
    store, _, _ = next(torch.distributed.rendezvous("env://", rank, ranks, timeout=timedelta(days=365)))
    store.set(f"packed {rank}", json.dumps([asdict(outcome) for outcome in outcomes]))
    return [Outcome(**fields) for other in range(ranks) for fields in json.loads(store.get(f"packed {other}"))]
