"""Part b: sequences a second, memory and operations of a training step, and the rate of the data path."""

import gc
import itertools
import re
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch

from model.device import has_bf16
from tools.cli import one_line
from tools.cli.machine import usable_cores
from tools.gpu.data import ready_data
from tools.gpu.work import Row, Work, settle, timed
from train.build import build_learner
from train.config import Config
from train.data.plan import Slot
from train.data.records import Records
from train.data.samples import Sample, Samples
from train.data.stream import Stream
from train.operations import operations_of
from train.optimizers.recipe import precision
from train.runtime.dist import Group
from train.runtime.seeds import generator
from train.runtime.throughput import Throughput, device_name, peak_of
from train.step import forward_backward, update

BATCHES = (1, 2, 4, 8, 16)
SECONDS = 1.5  # that a setting is timed for
COMPILE_SECONDS = 100  # that must be left for a setting that is compiled
GIB = 2**30


def measure(work: Work) -> None:
    """Add a row for each setting that the time allows: eager ones, the data path, compiled ones, a real training."""
    sizes = (1, 2) if work.tiny else BATCHES
    formats = [name for name in ("bf16", "fp16") if name == "fp16" or has_bf16(work.device) or work.tiny]
    for name in formats:
        for size in sizes:
            if work.is_over or not measure_steps(work, "eager", name, size):
                break
    acts = {"data": ready_data, "data path": measure_data, "a real training": measure_training}
    work.attempt_all("b", acts)
    best = work.best_batch().get("batch", 1)
    if work.tiny:
        measure_steps(work, "compiled", formats[0], 1)
        return
    for size in sorted(sizes, key=lambda size: abs(size - best)):  # the best first, while there is time
        for name in formats:
            if work.seconds_left > COMPILE_SECONDS:
                measure_steps(work, "compiled", name, size)


def measure_steps(work: Work, mode: str, amp_float: str, size: int) -> bool:
    """Add the row of a setting; False where it fails, as when its memory is not enough."""
    config = Config(
        loss="temporal_l1", amp_float=cast(Any, amp_float), backward_step=size, batch_size=size,
        tile=64 if work.tiny else 256, checkpoint_file=work.checkpoint,
    )  # fmt: skip
    what = f"step, {mode}, {precision(config, work.device)}, {size} per pass"
    try:
        found = time_steps(work, config, mode, size)
    except torch.OutOfMemoryError:
        work.add(Row("b", what, failure="out of memory"))
        return False
    except Exception as error:  # compilers raise nearly every kind, such as for a missing C compiler
        if mode == "eager":
            traceback.print_exc()
            work.status = 1
        work.add(Row("b", what, failure=one_line(error)[:300]))
        return False
    finally:
        release(work.device)
    work.add(Row("b", what, found["sequences_per_second"], "sequences/s", notes=found))
    return True


def time_steps(work: Work, config: Config, mode: str, size: int) -> dict[str, Any]:
    """What a training step of this many sequences takes, with bytes copied to the device, loss and optimizer."""
    learner = build_learner(config, Group(0, 1, work.device), 1, None)
    operations = operations_of(learner, config)
    if mode == "compiled":
        torch._dynamo.reset()
        learner.forward = torch.compile(learner.network, backend="eager" if work.tiny else "inductor", dynamic=False)
    samples = [random_sample(number, config.tile) for number in range(size)]

    def step() -> None:
        learner.optimizer.zero_grad()
        gens = [generator(1, 1, number, "loss") for number in range(size)]
        forward_backward(learner, config, work.device, samples, 1, gens)
        update(learner, config, True)

    first = timed(step, work.device)  # compiles, and chooses algorithms
    if not work.tiny:
        timed(step, work.device)
    if work.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(work.device)
    rounds, seconds = repeat(step, work.device, 0.0 if work.tiny else SECONDS)
    throughput = Throughput(operations, peak_of(device_name(work.device), precision(config, work.device)))
    notes: dict[str, Any] = {"sequences_per_second": size * rounds / seconds, "batch": size, "mode": mode}
    notes |= {"precision": precision(config, work.device), "first_step_s": first, "steps": rounds}
    curves = throughput.curves(size * rounds, seconds)
    notes |= {name.removeprefix("speed/"): value for name, value in curves.items()}
    if work.device.type == "cuda":
        notes["memory_gib"] = torch.cuda.max_memory_allocated(work.device) / GIB
        notes["reserved_gib"] = torch.cuda.max_memory_reserved(work.device) / GIB
    return notes


def repeat(act: Callable[[], object], device: torch.device, seconds: float) -> tuple[int, float]:
    """How often the act ran in about so many seconds, at least once, and the seconds until the device had finished."""
    settle(device)
    started, rounds = time.perf_counter(), 0
    while not rounds or time.perf_counter() - started < seconds:
        act()  # reads its loss from the device, so that the clock is right
        rounds += 1
    settle(device)
    return rounds, time.perf_counter() - started


def random_sample(number: int, tile: int) -> Sample:
    """A sample as a worker hands it over."""
    gen = torch.Generator().manual_seed(number)
    frames = torch.randint(0, 256, (12, tile, tile, 3), dtype=torch.uint8, generator=gen)
    holes = torch.rand(12, tile // 8, tile // 8, generator=gen) > 0.9
    return Sample(frames, holes.repeat_interleave(8, 1).repeat_interleave(8, 2), Slot(1, number, 0), 0)


def release(device: torch.device) -> None:
    """Give the memory of the last setting back."""
    gc.collect()  # compiled graphs refer to themselves
    if device.type == "cuda":
        torch.cuda.empty_cache()


def measure_data(work: Work) -> None:
    """Add the rate of samples with a worker for each core."""
    from pack.shards.shard import list_shards

    records = Records(list_shards(work.data / "train"))
    workers = 1 if work.tiny else usable_cores()
    stream = Stream(Samples(records, 12, 64 if work.tiny else 256, seed=1, strong=True), workers)
    warm, count = (1, 4) if work.tiny else (4 * workers, 64 * workers)
    samples = stream.samples([Slot(1, index, index % len(records)) for index in range(warm + count)])
    try:
        take(samples, warm)
        started = time.perf_counter()
        take(samples, count)
        rate = count / (time.perf_counter() - started)
    finally:
        stream.close()
    work.add(Row("b", "data path, augmentation strong", rate, "sequences/s", notes={"workers": workers}))


def take(samples: Iterator[Sample], count: int) -> None:
    """Use up so many samples."""
    for _ in itertools.islice(samples, count):
        pass


def measure_training(work: Work) -> None:
    """Add the rate and the wait for data of a real training, at the best setting found."""
    best = work.best_batch()
    batch, seconds = best.get("batch", 1), 25 if not work.tiny else 1
    rate = best.get("sequences_per_second", 1.0)
    sequences = 4 if work.tiny else max(int(rate * seconds) // batch * batch, 4 * batch)
    out = work.run(
        "train/main.py", "-i", work.data, "--model-dir", work.folder / "speed", "--checkpoint-file", work.checkpoint,
        "--device", work.device.type, "--loss", "temporal_l1", "--tile", 64 if work.tiny else 256,
        "--max-epoch", 1, "--learning-rate-cycles", 1, "--num-samples", 12 * sequences, "--augment", "strong",
        "--backward-step", batch, "--batch-size", batch, "--skip-eval", "--num-workers", 1 if work.tiny else -1,
    )  # fmt: skip
    speed = re.search(r"([\d.]+) sequences/s, data wait ([\d.]+) %", out)
    assert speed, out
    notes = {"sequences": sequences, "batch": batch, "data_wait_percent": float(speed[2])}
    work.add(Row("b", "a real training, start of workers included", float(speed[1]), "sequences/s", notes=notes))
