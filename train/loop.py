"""The training loop: epochs of steps, evaluations, checkpoints.

Random numbers depend on the slot alone, sums are in the order of slots, and every process decides from gathered
numbers; so a run that is stopped anywhere continues as if it had never been stopped.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.cli import Progress, duration
from tools.cli.machine import usable_cores
from train.checkpoints.lineage import lineage
from train.checkpoints.save import save_best, write_networks
from train.data.plan import Slot, slots_of
from train.data.stream import SOURCE, explain_worker_death
from train.evaluation.selection import evaluate_epoch, is_due, is_sound, metric_label
from train.optimizers.recipe import set_rates
from train.run import Run, save
from train.runtime.log import add_scalars, write_loss_csv
from train.step import step

SLOW_DATA = 0.05  # fraction of an epoch spent waiting for samples above which a warning is printed


@dataclass
class EpochTimes:
    """How long the parts of the current epoch took in this process, in seconds."""

    training: float = 0.0
    waiting: float = 0.0  # for samples, within the training
    evaluating: float = 0.0  # the last evaluation, perhaps of an earlier epoch
    sequences: int = 0  # trained on in that time


def train(run: Run, after_step: Callable[[], object] = lambda: None) -> bool:
    """Train to the last epoch; False when a signal ended it earlier, after a checkpoint."""
    times = EpochTimes()
    with explain_worker_death(), contextlib.closing(run.data.stream), contextlib.closing(run.job.writer):
        while run.position.epoch <= run.job.config.epochs:
            if not (train_epoch(run, times, after_step) and finish_epoch(run, times)):
                save(run)
                return False
        run.job.finish_writing()
    return True


def train_epoch(run: Run, times: EpochTimes, after_step: Callable[[], object] = lambda: None) -> bool:
    """Train on the remaining slots of the epoch. False when a signal came; an incomplete step is repeated on resume."""
    position, group, config, slots = run.position, run.job.group, run.job.config, run.data.plan.slots
    set_rates(run.learner.optimizer, config, position.epoch)
    if run.learner.gan:
        set_rates(run.learner.gan.optimizer, run.learner.gan.config, position.epoch)
    if not run.data.stream.has_workers:
        run.job.finish_writing()  # its workers would inherit the open file, and the locks of the thread
    started, times.waiting, times.sequences = time.monotonic(), 0.0, slots - position.slots_done
    samples = run.job.stop.bounded(run.data.stream.samples(slots_to_do(run, slots)), SOURCE)
    label = epoch_label(run)
    progress = Progress(slots, "sequences", label, done=position.slots_done) if group.is_main else None
    while position.slots_done < slots:
        report = step(run, samples)
        if report is None:
            return False
        times.waiting += report.waited
        after_step()
        if progress:
            progress.update(position.slots_done, f"loss {report.loss:.4f}")
        if config.save_every_steps and position.step % config.save_every_steps == 0 and position.slots_done < slots:
            save(run, wait=False)
    if progress:
        progress.close()
    times.training = time.monotonic() - started
    return True


def slots_to_do(run: Run, stop: int) -> list[Slot]:
    """The slots of the epoch that this process computes, from those done up to `stop`."""
    position, group, data = run.position, run.job.group, run.data
    weights = data.history.weights() if data.history else None
    records = group.broadcast(data.plan.records(position.epoch, weights))
    step = run.job.config.backward_step
    indexes = slots_of(group.rank, group.world_size, position.slots_done, stop, step, data.plan.tiles)
    return [Slot(position.epoch, index, int(records[index])) for index in indexes]


def finish_epoch(run: Run, times: EpochTimes) -> bool:
    """Evaluate if it is due, save the best network, close the epoch. False when a signal came in the evaluation."""
    job, position = run.job, run.position
    sound = is_sound(job, run.learner, position.epoch)
    best = sound and not run.data.eval_samples  # without evaluation each epoch is the best
    if run.data.eval_samples and is_due(job.config, position.epoch):
        job.finish_writing()  # as above, for the workers of the evaluation
        started = time.monotonic()
        best = evaluate_epoch(job, run.learner, run.data, position, run.curves, sound)
        times.evaluating = time.monotonic() - started
    if best is None:
        return False
    about = lineage(job.config, run.data, position)
    if best:
        save_best(job, run.learner, position.run_id, about)
    if job.config.save_epoch and sound:
        write_networks(job, run.learner, job.folder / "epoch" / str(position.epoch), about)
    close_epoch(run, times)
    save(run, wait=False)
    return True


def close_epoch(run: Run, times: EpochTimes) -> None:
    """Report the epoch, update mining with its losses, and advance to the next."""
    position, config, group = run.position, run.job.config, run.job.group
    loss = sum(total / position.counted for total in position.sums.values()) if position.counted else None
    position.rows.append([position.epoch, loss, position.evaluated])
    if run.data.history and position.losses:
        records, losses = zip(*position.losses, strict=True)
        run.data.history.update(np.array(records), np.array(losses))
    group.first(write_epoch, run, loss)
    best = "" if position.best is None else f"best {metric_label(config.eval_metric)} {position.best:.5f}, "
    seconds = max(times.training, 1e-9)
    group.log(
        f"{epoch_label(run)}: {'no step counted' if loss is None else f'loss {loss:.5f}'}, {best}"
        f"{times.sequences / seconds:.2f} sequences/s, data wait {100 * times.waiting / seconds:.1f} %, "
        f"stream {position.digest}{time_left(run, times)}"
    )
    if times.waiting > SLOW_DATA * times.training:
        group.log(f"training waits for data: try {faster_data(run.data.workers)}")
    position.next_epoch()


def epoch_label(run: Run) -> str:
    config = run.job.config
    return f"epoch {run.position.epoch}" + (f"/{config.epochs}" if config.has_end else "")


def time_left(run: Run, times: EpochTimes) -> str:
    """The time that the remaining epochs and evaluations will take at the speed of this one, in words."""
    if not times.sequences or not run.job.config.has_end:  # without sequences the epoch was only evaluated
        return ""
    epochs = range(run.position.epoch + 1, run.job.config.epochs + 1)
    training = len(epochs) * times.training * run.data.plan.slots / times.sequences
    evaluating = times.evaluating * sum(is_due(run.job.config, epoch) for epoch in epochs)
    return f", {duration(training + evaluating)} left"


def faster_data(workers: int) -> str:
    """Flags that make samples arrive faster: more processes as long as there are cores for them."""
    cores = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if workers < cores:
        return f"--num-workers {min(2 * max(workers, 1), cores)} instead of {workers}"
    return "--tiles-per-record 2 in a new run, as all cores prepare samples, or --cache-dir for a slow store"


def write_epoch(run: Run, loss: float | None) -> None:
    """Write the epoch's TensorBoard points and the loss CSV; the loss is None when every step was skipped."""
    position = run.position
    values = {} if loss is None else {"epoch/train_loss": loss}
    values |= {
        "epoch/number": position.epoch,
        "epoch/skipped_steps": position.skipped,
    }
    add_scalars(run.curves.epochs, values, position.step)
    write_loss_csv(run.job.folder / f"loss_{position.run_id}.csv", position.rows)
