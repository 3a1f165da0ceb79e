"""--dry-run: one step that measures what a run would need and writes nothing; and --profile."""

import contextlib
import math
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tools.cli import UserError, duration, machine, plural
from tools.cli.machine import memory_bytes, usable_cores
from train.data.plan import Slot
from train.data.samples import BadRecord, Sample
from train.data.stream import Stream
from train.evaluation.evaluate import measure
from train.evaluation.selection import is_due
from train.loop import slots_to_do
from train.passes import largest_batch, share_of
from train.run import Run
from train.runtime.job import Job
from train.step import step

GIB = 2**30
QUICK = 10.0  # seconds; after a faster first step, which warms up, a second one is timed
USABLE = 0.9  # share of the memory that a proposed --batch-size may fill
SKIPPED = 2  # first steps that a profile leaves out, as they include what happens once


@dataclass(frozen=True)
class Costs:
    """What was measured in the process that has most of it: seconds, and bytes on the device of the training."""

    sample: float  # seconds of one core per sample
    step: float  # seconds of an optimizer step whose samples are ready
    record: float  # seconds per record of an evaluation
    before: float = 0.0  # bytes in use before a step
    grown: float = 0.0  # bytes that a step adds at its peak


def dry_run(run: Run) -> None:
    """Take one optimizer step, evaluate one record, and print what the whole run would need. Nothing is written."""
    steps, evaluations = work_left(run)
    seconds_a_sample, samples = take_samples(run)
    before = memory_in_use(run.job.group.device)
    seconds_a_step, loss = time_steps(run, samples)
    grown = peak_memory(run.job.group.device) - before
    costs = Costs(*slowest(run, [seconds_a_sample, seconds_a_step, time_evaluation(run), before, grown]))
    for line in describe(run, costs, loss, steps, evaluations):
        run.job.group.log(line)


def work_left(run: Run) -> tuple[int, int]:
    """Optimizer steps and evaluations from the run's position to its end."""
    position, config = run.position, run.job.config
    epochs = range(position.epoch, config.epochs + 1)
    steps = (len(epochs) * run.data.plan.slots - position.slots_done) // config.backward_step
    due = sum(is_due(config, epoch) for epoch in epochs)
    return max(steps, 0), due if run.data.eval_samples else 0


def take_samples(run: Run) -> tuple[float, list[Sample]]:
    """Seconds of one core per sample, and this process's samples of the next step."""
    run.position.slots_done %= run.data.plan.slots  # when the epoch is done except for its evaluation
    slots = slots_to_do(run, run.position.slots_done + run.job.config.backward_step)
    stream = Stream(run.data.stream.source, workers=0, tiles=run.data.plan.tiles)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker process
    list(stream.samples(slots[-1:]))  # warm-up
    started = time.monotonic()
    samples = list(stream.samples(slots))
    seconds = (time.monotonic() - started) / len(samples)
    torch.set_num_threads(threads)
    return seconds, samples


def time_steps(run: Run, samples: list[Sample]) -> tuple[float, float]:
    """Seconds of an optimizer step, the second one if the first is fast, and the loss of the first."""
    losses, seconds = [], 0.0
    while len(losses) < 2 and run.job.group.broadcast(seconds) < QUICK:
        started = time.monotonic()
        report = step(run, iter(samples))
        seconds = time.monotonic() - started
        if report is None:
            raise UserError(f"stopped by {run.job.stop.name or 'another process'} before the step was complete")
        losses.append(report.loss)
    return seconds, losses[0]


def time_evaluation(run: Run) -> float:
    """Seconds per record of an evaluation, 0 without evaluation."""
    learner = run.learner
    found = run.data.eval_samples[Slot(0, 0, 0)] if run.data.eval_samples else None
    if found is None or isinstance(found, BadRecord):
        return 0.0
    learner.network.eval()
    with learner.evaluated_weights():
        started = time.monotonic()
        measure(learner.network, learner.criterion, found, run.job.group.device)
        seconds = time.monotonic() - started
    learner.network.train()
    return seconds


def slowest(run: Run, seconds: list[float]) -> list[float]:
    """The maximum of each value over all processes."""
    return run.job.group.gather(torch.tensor(seconds, dtype=torch.float64)).max(0).values.tolist()


def describe(run: Run, costs: Costs, loss: float, steps: int, evaluations: int) -> list[str]:
    """The lines of the report."""
    size, world_size = run.job.config.backward_step, run.job.group.world_size
    records = len(run.data.eval_samples.records) if run.data.eval_samples else 0
    weights = 2 if run.learner.ema else 1  # averaged and raw
    evaluation = math.ceil(records / world_size) * costs.record * weights
    share = share_of(run.job.config, 0, world_size)  # the largest
    need = workers_needed(costs, share)
    left = steps * step_seconds(costs, share, run.data.workers) + evaluations * evaluation
    return [
        f"dry run: a step of {size} sequences takes {costs.step:.2f} s ({1 / costs.step:.3f} steps/s, "
        f"{size / costs.step:.2f} sequences/s), its loss is {loss:.4f}",
        f"memory: {memory(run.job.group.device)}",
        f"batch: {describe_batch(run.job, costs)}",
        f"data: a sample takes {costs.sample:.3f} s of one core: {describe_workers(run.data.workers, need)}",
        f"evaluation: {costs.record:.2f} s per record, {duration(evaluation)} for {plural(records, 'record')}, "
        f"{plural(evaluations, 'time')}",
        f"whole run: {plural(steps, 'step')}, {duration(left)} at this speed; nothing was written",
    ]


def workers_needed(costs: Costs, samples: int) -> int:
    """Worker processes that prepare a process's samples of a step in less than 1.01 times the step's time."""
    return max(math.ceil(samples * costs.sample / costs.step / 1.01), 1)


def step_seconds(costs: Costs, samples: int, workers: int) -> float:
    """Seconds of a step with this number of workers; without any, the process prepares its samples itself."""
    data = samples * costs.sample
    return max(costs.step, data / workers) if workers else costs.step + data


def describe_workers(workers: int, needed: int) -> str:
    """The advice on --num-workers."""
    here, cores = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), usable_cores()
    text = f"--num-workers {needed} keeps the wait below 1 %, this run has {workers}"
    if needed * here > cores:
        text += f"; {here} x {needed} need more than the {plural(cores, 'core')} here, so training will wait for data"
    return text


def describe_batch(job: Job, costs: Costs) -> str:
    """The advice on --batch-size: the largest that fits if memory grows in proportion to the sequences of a pass."""
    sequence = max(costs.grown / job.passes.batch_size, 1)
    share = share_of(job.config, 0, job.group.world_size)  # the largest
    fits = largest_batch(share, int((USABLE * device_memory(job.group.device) - costs.before) / sequence))
    return (
        f"a pass needs {sequence / GIB:.2f} GiB per sequence: --batch-size {fits} is the largest that fits of the "
        f"{plural(share, 'sequence')} of a process, this run has {job.passes.batch_size}"
    )


def device_memory(device: torch.device) -> float:
    """Bytes that a process of the job can use on its device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return memory_bytes() / int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def memory_in_use(device: torch.device) -> int:
    """Bytes of tensors on a GPU, or on a CPU of this process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else peak_memory(device)


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has used on the device so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return machine.peak_memory()


def memory(device: torch.device) -> str:
    """Peak memory of this process so far."""
    text = f"{peak_memory(torch.device('cpu')) / GIB:.2f} GiB for each process"
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        text += f", {torch.cuda.max_memory_reserved(device) / GIB:.2f} of {total / GIB:.0f} GiB on the GPU"
    return text


@contextlib.contextmanager
def profiled(run: Run) -> Iterator[Callable[[], object]]:
    """A function to call after each step; with --profile it writes a trace of so many steps, in the first process.

    Perfetto and TensorBoard open the trace.
    """
    if not run.job.config.profile or not run.job.group.is_main:
        yield lambda: None
        return

    def write(profiler: torch.profiler.profile) -> None:
        path = run.job.folder / "logs" / run.position.run_id / f"to_step_{run.position.step}.pt.trace.json"
        profiler.export_chrome_trace(str(path))
        run.job.group.log(f"profile: {path}, open it with ui.perfetto.dev")

    schedule = torch.profiler.schedule(wait=SKIPPED - 1, warmup=1, active=run.job.config.profile, repeat=1)
    with torch.profiler.profile(schedule=schedule, on_trace_ready=write) as profiler:
        yield profiler.step
