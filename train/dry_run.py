"""What a run would need, found out by one step that leaves no trace; and a profile of a run that goes on."""

import contextlib
import math
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tools.cli import UserError, duration
from tools.cli.machine import usable_cores
from train.data.samples import BadRecord, Sample
from train.data.stream import Stream
from train.evaluation.evaluate import measure
from train.evaluation.selection import is_due
from train.loop import slots_to_do
from train.run import Run, evaluated_weights, say
from train.step import step

GIB = 2**30
QUICK = 10.0  # seconds of a first step, which warms up, below which a second one is timed instead
SKIPPED = 2  # steps before those that a profile shows: what happens once is not what one looks for


@dataclass(frozen=True)
class Costs:
    """What was measured, of the slowest process."""

    sample: float  # seconds of one core
    step: float  # seconds of an optimizer step with its samples at hand
    record: float  # seconds of a record in evaluation


def dry_run(run: Run) -> None:
    """Take one optimizer step and evaluate one record, and say what the whole run would need. Nothing is written."""
    steps, evaluations = work_left(run)
    seconds_a_sample, samples = take_samples(run)
    seconds_a_step, loss = time_steps(run, samples)
    costs = Costs(*slowest(run, [seconds_a_sample, seconds_a_step, time_evaluation(run)]))
    for line in report(run, costs, loss, steps, evaluations):
        say(run, line)


def work_left(run: Run) -> tuple[int, int]:
    """Optimizer steps and evaluations from the run's place to its end."""
    place, config = run.place, run.config
    epochs = range(place.epoch, config.epochs + 1)
    steps = (len(epochs) * run.plan.slots - place.slots_done) // config.backward_step
    due = sum(is_due(config, epoch) for epoch in epochs)
    return max(steps, 0), due if run.eval_samples else 0


def take_samples(run: Run) -> tuple[float, list[Sample]]:
    """Seconds that a sample takes on one core, and this process's samples of the next step."""
    run.place.slots_done %= run.plan.slots  # at the end of an epoch that is to be evaluated
    slots = slots_to_do(run, run.place.slots_done + run.config.backward_step)
    stream = Stream(run.stream.loader.dataset, workers=0, tiles=run.plan.tiles)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker process
    list(stream.samples(slots[-1:]))  # what the first one does once
    started = time.monotonic()
    samples = list(stream.samples(slots))
    seconds = (time.monotonic() - started) / len(samples)
    torch.set_num_threads(threads)
    return seconds, samples


def time_steps(run: Run, samples: list[Sample]) -> tuple[float, float]:
    """Seconds of an optimizer step, of a second one where the first is quick, and the loss of the first."""
    losses, seconds = [], 0.0
    while len(losses) < 2 and run.group.broadcast(seconds) < QUICK:
        started = time.monotonic()
        losses.append(step(run, iter(samples)))
        seconds = time.monotonic() - started
        if losses[-1] is None:
            raise UserError(f"stopped by {run.stop.name or 'another process'} before the step was complete")
    return seconds, losses[0]


def time_evaluation(run: Run) -> float:
    """Seconds of one record, 0 without evaluation."""
    found = run.eval_samples[0, 0, 0] if run.eval_samples else None
    if found is None or isinstance(found, BadRecord):
        return 0.0
    run.network.eval()
    with evaluated_weights(run):
        started = time.monotonic()
        measure(run.network, run.criterion, found, run.group.device)
        seconds = time.monotonic() - started
    run.network.train()
    return seconds


def slowest(run: Run, values: list[float]) -> list[float]:
    return run.group.gather(torch.tensor(values, dtype=torch.float64)).max(0).values.tolist()


def report(run: Run, costs: Costs, loss: float, steps: int, evaluations: int) -> list[str]:
    """The lines that say it."""
    size, world = run.config.backward_step, run.group.world_size
    records = len(run.eval_samples.records) if run.eval_samples else 0
    weights = 2 if run.ema else 1  # averaged and raw
    evaluation = math.ceil(records / world) * costs.record * weights
    need = workers_needed(costs, size // world)
    left = steps * step_seconds(costs, size // world, run.stream.loader.num_workers) + evaluations * evaluation
    return [
        f"dry run: a step of {size} sequences takes {costs.step:.2f} s ({1 / costs.step:.3f} steps/s, "
        f"{size / costs.step:.2f} sequences/s), its loss is {loss:.4f}",
        f"memory: {memory(run.group.device)}",
        f"data: a sample takes {costs.sample:.3f} s of a core: {describe_workers(run, need)}",
        f"evaluation: {costs.record:.2f} s a record, {duration(evaluation)} for {records}, {evaluations} times",
        f"whole run: {steps} steps, {duration(left)} at this speed; nothing was written",
    ]


def workers_needed(costs: Costs, samples: int) -> int:
    """Worker processes that make a step's samples for a process in less than 1.01 times the step's time."""
    return max(math.ceil(samples * costs.sample / costs.step / 1.01), 1)


def step_seconds(costs: Costs, samples: int, workers: int) -> float:
    """How long a step takes with so many workers: it waits for them, or makes its samples itself."""
    data = samples * costs.sample
    return max(costs.step, data / workers) if workers else costs.step + data


def describe_workers(run: Run, need: int) -> str:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cores, have = usable_cores(), run.stream.loader.num_workers
    text = f"--num-workers {need} keeps the wait below 1 %, this run has {have}"
    if need * here > cores:
        text += f"; the {cores} cores are too few for {here} x {need}, so the network will wait"
    return text


def memory(device: torch.device) -> str:
    """The most that this process has used so far."""
    text = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB:.2f} GiB for each process"
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        text += f", {torch.cuda.max_memory_reserved(device) / GIB:.2f} of {total / GIB:.0f} GiB on the GPU"
    return text


@contextlib.contextmanager
def profiled(run: Run) -> Iterator[None]:
    """Inside the block the first process writes a trace of --profile steps, which Perfetto and TensorBoard open."""
    if not run.config.profile or not run.group.is_main:
        yield
        return

    def write(profiler: torch.profiler.profile) -> None:
        path = run.folder / "logs" / run.place.run_id / f"to_step_{run.place.step}.pt.trace.json"
        profiler.export_chrome_trace(str(path))
        say(run, f"profile: {path}, open it with ui.perfetto.dev")

    schedule = torch.profiler.schedule(wait=SKIPPED - 1, warmup=1, active=run.config.profile, repeat=1)
    with torch.profiler.profile(schedule=schedule, on_trace_ready=write) as profiler:
        run.after_step = profiler.step
        yield
