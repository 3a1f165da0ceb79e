"""The training loop: epochs of steps, evaluations, checkpoints.

What is random is keyed by the slot, what is summed is summed in the order of slots, and every process takes the same
decisions from gathered numbers; so a run that is stopped anywhere goes on as if nothing had happened.
"""

import contextlib
import time

from tools.cli import Progress, duration
from train.best import evaluate_epoch, shown
from train.log import add_scalars, write_loss_csv
from train.plan import slots_of
from train.recipe import set_rates
from train.run import Run, say
from train.save import save, save_best, write_networks
from train.step import step
from train.stream import Slot, deaths_told

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
    progress = Progress(run.plan.slots, "sequences", label, done=place.slots_done) if group.leads else None
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
    mine = slots_of(group.rank, group.world, place.slots_done, stop, run.plan.tiles)
    return [(place.epoch, slot, int(records[slot])) for slot in mine]


def finish_epoch(run: Run, started: float, first_slot: int) -> bool:
    """Evaluate when it is time, keep the best network, close the epoch. False when a signal came in the evaluation."""
    place, config = run.place, run.config
    train_seconds, best = time.monotonic() - started, not run.eval_samples  # without evaluation each epoch is the best
    if run.eval_samples and (place.epoch % config.eval_step == 0 or place.epoch == config.epochs):
        best = evaluate_epoch(run)
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
    left = (run.config.epochs - place.epoch) * seconds * run.plan.slots / max(sequences, 1)
    say(
        run,
        f"epoch {place.epoch}/{run.config.epochs}: loss {loss:.5f}, {best}"
        f"{sequences / max(seconds, 1e-9):.2f} sequences/s, "
        f"data wait {100 * run.waited / max(seconds, 1e-9):.1f} %, stream {place.digest}, {duration(left)} left",
    )
    if run.waited > SLOW_DATA * seconds:
        workers = run.stream.loader.num_workers
        say(run, f"the network waits for data: try --num-workers {2 * max(workers, 1)} instead of {workers}")
    place.next_epoch()


def write_epoch(run: Run, loss: float) -> None:
    place = run.place
    values = {"epoch/train_loss": loss, "epoch/number": place.epoch, "epoch/skipped_steps": place.skipped}
    add_scalars(run.curves.epochs, values, place.step)
    write_loss_csv(run.folder / f"loss_{place.run_id}.csv", place.rows)
