"""The training loop: epochs of steps, evaluations, checkpoints.

What is random is keyed by the slot, what is summed is summed in the order of slots, and every process takes the same
decisions from gathered numbers; so a run that is stopped anywhere goes on as if nothing had happened.
"""

import contextlib
import os
import time

from tools.cli import Progress, duration
from tools.cli.machine import usable_cores
from train.checkpoints.save import save, save_best, write_networks
from train.data.plan import slots_of
from train.data.samples import Slot
from train.data.stream import deaths_told
from train.evaluation.selection import evaluate_epoch, is_due, shown
from train.optimizers.recipe import set_rates
from train.run import Run, say
from train.runtime.log import add_scalars, write_loss_csv
from train.step import step

SLOW_DATA = 0.05  # share of an epoch spent waiting for samples that deserves a warning


def train(run: Run) -> bool:
    """Train to the last epoch; False when a signal ended it earlier, after a checkpoint."""
    with deaths_told(), contextlib.closing(run.stream):
        while run.place.epoch <= run.config.epochs:
            started = time.monotonic()
            first_slot = run.place.slots_done
            if not (train_epoch(run) and finish_epoch(run, started, first_slot)):
                save(run)
                return False
    return True


def train_epoch(run: Run) -> bool:
    """The slots of the epoch that are still to do. False when a signal came; what no step has used is done again."""
    place, group, config = run.place, run.group, run.config
    set_rates(run.optimizer, config, place.epoch)
    if run.gan:
        set_rates(run.gan.optimizer, run.gan.config, place.epoch)
    samples = run.stream.samples(slots_to_do(run, run.plan.slots))
    label = f"epoch {place.epoch}/{config.epochs}"
    progress = Progress(run.plan.slots, "sequences", label, done=place.slots_done) if group.is_main else None
    run.waited = 0.0
    while place.slots_done < run.plan.slots:
        loss = step(run, samples)
        if loss is None:
            return False
        run.after_step()
        if progress:
            progress.update(place.slots_done, f"loss {loss:.4f}")
        if config.save_every_steps and place.step % config.save_every_steps == 0 and place.slots_done < run.plan.slots:
            save(run)
    if progress:
        progress.close()
    return True


def slots_to_do(run: Run, stop: int) -> list[Slot]:
    """What this process computes of the epoch's slots, from those done to `stop`."""
    place, group = run.place, run.group
    records = group.broadcast(run.plan.records(place.epoch, run.history.weights() if run.history else None))
    mine = slots_of(group.rank, group.world_size, place.slots_done, stop, run.plan.tiles)
    return [(place.epoch, slot, int(records[slot])) for slot in mine]


def finish_epoch(run: Run, started: float, first_slot: int) -> bool:
    """Evaluate when it is time, keep the best network, close the epoch. False when a signal came in the evaluation."""
    place, config = run.place, run.config
    train_seconds, best = time.monotonic() - started, not run.eval_samples  # without evaluation each epoch is the best
    if run.eval_samples and is_due(config, place.epoch):
        best = evaluate_epoch(run)
        run.evaluating = time.monotonic() - started - train_seconds
    if best is None:
        return False
    if best:
        save_best(run)
    if config.save_epoch:
        write_networks(run, run.folder / "epoch" / str(place.epoch))
    close_epoch(run, train_seconds, run.plan.slots - first_slot)
    save(run)
    return True


def close_epoch(run: Run, seconds: float, sequences: int) -> None:
    """Say how the epoch went, let mining learn from it, and go to the next."""
    place = run.place
    means = {name: total / max(place.counted, 1) for name, total in place.sums.items()}
    loss = sum(means.values())
    place.rows.append([place.epoch, loss, place.evaluated])
    if run.history and place.losses:
        records, losses = zip(*place.losses, strict=True)
        run.history.update(records, losses)
    run.group.first(write_epoch, run, loss)
    best = "" if place.best is None else f"best {shown(run.config.eval_metric)} {place.best:.5f}, "
    say(
        run,
        f"epoch {place.epoch}/{run.config.epochs}: loss {loss:.5f}, {best}"
        f"{sequences / max(seconds, 1e-9):.2f} sequences/s, data wait {100 * run.waited / max(seconds, 1e-9):.1f} %, "
        f"stream {place.digest}{time_left(run, seconds, sequences)}",
    )
    if run.waited > SLOW_DATA * seconds:
        say(run, f"the network waits for data: try {faster_data(run.stream.loader.num_workers)}")
    place.next_epoch()


def time_left(run: Run, seconds: float, sequences: int) -> str:
    """In words, how long the epochs to come will take with their evaluations, if this one says how long one takes."""
    if not sequences:  # it was only evaluated
        return ""
    epochs = range(run.place.epoch + 1, run.config.epochs + 1)
    training = len(epochs) * seconds * run.plan.slots / sequences
    evaluating = run.evaluating * sum(is_due(run.config, epoch) for epoch in epochs)
    return f", {duration(training + evaluating)} left"


def faster_data(workers: int) -> str:
    """Flags that make samples come faster: more processes as long as there are cores for them."""
    cores = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if workers < cores:
        return f"--num-workers {min(2 * max(workers, 1), cores)} instead of {workers}"
    return "--tiles-per-record 2 in a new run, as all cores prepare samples, or --cache-dir for a slow store"


def write_epoch(run: Run, loss: float) -> None:
    place = run.place
    values = {"epoch/train_loss": loss, "epoch/number": place.epoch, "epoch/skipped_steps": place.skipped}
    add_scalars(run.curves.epochs, values, place.step)
    write_loss_csv(run.folder / f"loss_{place.run_id}.csv", place.rows)
