"""The training loop: slots of the plan through the network, optimizer steps, evaluation, checkpoints.

What is random is keyed by the slot, what is summed is summed in the order of slots, and every process takes the same
decisions from gathered numbers; so a run that is stopped anywhere goes on as if nothing had happened.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.checkpoint import describe, network_name, save_network, write_file
from model.light_video_inpaint import LightVideoInpaint
from tools.cli import Progress, duration
from train.adversarial import shared_noise
from train.config import Config
from train.diff_aug import diff_aug
from train.dist import Group
from train.ema import EMA
from train.evaluation import Result, evaluate, trim
from train.gan import Gan
from train.log import Curves, add_scalars, write_loss_csv
from train.mining import History
from train.optim import averaged, clip_gradients, is_schedule_free
from train.plan import Plan, slots_of
from train.recipe import autocast, set_rates
from train.seeds import generator
from train.state import Place, as_payload, checkpoint_path, rotate, write_quarantine
from train.stop import Stop
from train.stream import Fault, Sample, Samples, Slot, Stream, deaths_told

SKIPS = 100  # steps that are not finite, after which an epoch ends the run
BAD_SHARE, BAD_FEW = 0.001, 3  # of the records may be bad, or a few in a small dataset
SLOW_DATA = 0.05  # share of an epoch spent waiting for samples that deserves a warning


@dataclass
class Run:
    """Everything that the loop works with."""

    config: Config
    group: Group
    stop: Stop
    folder: Path
    network: LightVideoInpaint
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # the network, perhaps compiled
    criterion: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: EMA | None
    gan: Gan | None
    history: History | None
    plan: Plan
    stream: Stream
    eval_samples: Samples | None
    eval_workers: int
    data: dict  # describe_data
    place: Place
    curves: Curves | None
    bad: dict[str, Fault]  # what is in quarantine, by key
    waited: float = 0.0  # seconds without a sample in this epoch
    after_step: Callable[[], object] = lambda: None  # a profiler's

    @property
    def name(self) -> str:
        return network_name(self.network)


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


def step(run: Run, samples: Iterator[Sample]) -> float | None:
    """One optimizer step of the whole job; its mean loss, or None when a signal came before it was complete."""
    started, waited = time.monotonic(), 0.0
    run.optimizer.zero_grad()
    if run.gan:
        run.gan.optimizer.zero_grad()
    shown, faults = [], []
    for _ in range(run.config.backward_step // run.group.world):
        if run.group.any(bool(run.stop.name)):
            return None
        asked = time.monotonic()
        sample = next(samples)
        waited += time.monotonic() - asked
        terms, judged = forward_backward(run, sample)
        shown.append([sample.position, sample.record, sample.digest, *terms.values(), *judged])
        faults += sample.faults
    run.group.sum_gradients(run.network.parameters())
    rows = run.group.gather(torch.tensor(shown, dtype=torch.float64)).flatten(0, 1)  # (backward_step 3+terms+judged)
    rows = rows[rows[:, 0].argsort()]
    rows, judged = rows.tensor_split([3 + len(terms)], dim=1)
    quarantine(run, [fault for part in run.group.gather_objects(faults) for fault in part])
    norm, finite = update(run, rows[:, 3:])
    account(run, rows, finite, list(terms))
    if run.gan:
        judge(run, judged)
    run.waited += waited
    losses = rows[:, 3:].sum(1)
    log_step(
        run,
        dict(zip(terms, rows[:, 3:].mean(0).tolist(), strict=True)),
        float(norm),
        time.monotonic() - started,
        waited,
    )
    return float(losses.mean())


def forward_backward(run: Run, sample: Sample) -> tuple[dict[str, float], list[float]]:
    """The loss terms of one sequence, whose gradient is added to the step's mean, and what train.gan says of it."""
    config, device = run.config, run.group.device
    frames = sample.frames.to(device, non_blocking=True)  # (12 3 S S)
    holes = sample.holes.to(device, non_blocking=True)  # (12 1 S S)
    gen = generator(run.place.seed, run.place.epoch, sample.position, "loss")
    with autocast(config, device):
        masked, mask = run.network.preprocess(frames, holes)
        output, target = run.forward(masked, mask).float(), trim(frames)  # (12 3 S-32 S-32)
        if run.gan:
            output, target = shared_noise(output, target, gen)
        pair = output, target, trim(holes)
        if config.diff_aug and config.loss != "dct":
            pair = diff_aug(*pair, gen)
        terms = run.criterion(*pair, gen)
    loss = run.scaler.scale(sum(terms.values()) / config.backward_step)
    judged = []
    if run.gan:
        judged = run.gan.backward(run.place.step, loss, output, target, trim(mask), run.network, run.scaler)
    else:
        loss.backward()
    return {name: float(value.detach()) for name, value in terms.items()}, judged


def update(run: Run, terms: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Step the optimizer unless loss or gradient is not finite; the gradient norm, and whether all is well.

    It is, too, when a gradient overflows while fp16 looks for its scale.
    """
    run.scaler.unscale_(run.optimizer)
    norm = clip_gradients(run.optimizer, run.config.clip_grad_norm)
    finite = bool(torch.isfinite(terms).all())
    stepped = finite and bool(torch.isfinite(norm))
    if stepped:
        run.scaler.step(run.optimizer)
        if run.ema:
            run.ema.update()
    well = stepped or (finite and run.scaler.get_scale() > 1)
    run.scaler.update()
    return norm, well


def account(run: Run, rows: torch.Tensor, finite: bool, names: list[str]) -> None:
    """Write down what the step was, in the order of slots: the digest of the stream, sums, and losses for mining."""
    place = run.place
    for _, record, digest, *terms in rows.tolist():
        place.digest = hashlib.sha256(f"{place.digest}{int(digest)}".encode()).hexdigest()[:16]
        if finite:
            place.losses.append((int(record), sum(terms)))
            place.counted += 1
            for name, value in zip(names, terms, strict=True):
                place.sums[name] = place.sums.get(name, 0.0) + value
    place.slots_done += len(rows)
    place.step += 1
    if not finite:
        skip(run, "loss or gradient")


def skip(run: Run, what: str) -> None:
    """Count a step that was left out, and end the run when there are too many."""
    place = run.place
    place.skipped += 1
    say(run, f"step {place.step}: {what} is not finite, skipped ({place.skipped} in this epoch)")
    if not run.config.ignore_nan or place.skipped > SKIPS:
        raise ValueError(
            f"{place.skipped} steps of epoch {place.epoch} were not finite: go on from the last checkpoint "
            f"with --resume and a lower --learning-rate, --clip-grad-norm 1 or --amp-float bf16"
        )


def judge(run: Run, judged: torch.Tensor) -> None:
    """Step the discriminator; judged is (backward_step 4)."""
    if not run.gan.update(run.group, judged):
        skip(run, "loss or gradient of the discriminator")
    if run.curves and run.place.step % run.config.log_every_steps == 0:
        add_scalars(run.curves.steps, run.gan.curves(judged, run.place.step), run.place.step)


def quarantine(run: Run, faults: list[Fault]) -> None:
    """Name bad records in quarantine.jsonl, once each, and end the run when there are too many."""
    new = {fault.key: fault for fault in faults if fault.key not in run.bad}
    if not new:
        return
    run.bad |= new
    if not run.config.dry_run:
        run.group.first(write_quarantine, run.folder, run.bad.values())
    for fault in new.values():
        say(run, f"bad record {fault.key} in {fault.shard} is not used: {fault.reason}")
    if len(run.bad) > max(BAD_FEW, BAD_SHARE * run.plan.count):
        raise ValueError(
            f"{len(run.bad)} of {run.plan.count} records are bad (see {run.folder / 'quarantine.jsonl'}): "
            f"copy or pack their shards again, remove that file and go on with --resume"
        )


def log_step(run: Run, terms: dict[str, float], norm: float, seconds: float, waited: float) -> None:
    if not run.curves or run.place.step % run.config.log_every_steps:
        return
    group = run.optimizer.param_groups[0]
    values = {f"train/{name}": value for name, value in terms.items()}
    values |= {"train/loss": sum(terms.values()), "train/gradient_norm": norm}
    values |= {"rates/learning_rate": group["lr"], "rates/weight_decay": group["weight_decay"]}
    values |= {"speed/sequences_per_second": run.config.backward_step / seconds, "speed/data_wait": waited / seconds}
    add_scalars(run.curves.steps, values, run.place.step)


def finish_epoch(run: Run, started: float, first_slot: int) -> bool:
    """Evaluate when it is time, keep the best network, close the epoch. False when a signal came in the evaluation."""
    place, config = run.place, run.config
    due = not config.skip_eval and (place.epoch % config.eval_step == 0 or place.epoch == config.epochs)
    train_seconds, best = time.monotonic() - started, place.best
    with evaluated_weights(run):
        if due and run.eval_samples and not evaluate_epoch(run):
            return False
        if config.skip_eval or not run.eval_samples:
            save_best(run)
        if config.save_epoch:
            write_network(run, run.folder / "epoch" / str(place.epoch) / f"{run.name}.pth")
    if run.ema and (place.best != best or config.skip_eval or not run.eval_samples):
        write_network(run, run.folder / f"{run.name}.raw.pth")  # what the best average is of
    close_epoch(run, train_seconds, run.plan.slots - first_slot)
    save(run)
    return True


@contextlib.contextmanager
def evaluated_weights(run: Run) -> Iterator[None]:
    """Inside the block the network has the weights that are evaluated and exported: averages where there are any."""
    with averaged(run.optimizer, run.network), run.ema.averaged() if run.ema else contextlib.nullcontext():
        yield


def evaluate_epoch(run: Run) -> bool:
    """Evaluate and log; keep the network when it is the best so far. False when a signal came."""
    place, config = run.place, run.config
    result = evaluate(
        run.network, run.criterion, run.eval_samples, run.group, run.eval_workers, run.stop,
        config.save_eval_step, run.folder / "eval",
    )  # fmt: skip
    if result is None:
        return False
    quarantine(run, list(result.faults))
    place.evaluated = result.metrics["loss"]
    run.group.first(draw_evaluation, run.curves, result, place.step)
    best = place.evaluated < (float("inf") if place.best is None else place.best)  # never, when it is NaN
    if best:
        place.best = place.evaluated
        save_best(run)
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    say(run, f"epoch {place.epoch}: evaluation {numbers}{' (best)' if best else ''}")
    return True


def draw_evaluation(curves: Curves, result: Result, step: int) -> None:
    add_scalars(curves.epochs, {f"eval/{name}": value for name, value in result.metrics.items()}, step)
    for number, picture in result.pictures.items():
        curves.epochs.add_image(f"eval/{number}", picture, step, dataformats="HWC")


def save_best(run: Run) -> None:
    """The file that iw3 loads, and a copy under this run's name."""
    path = run.folder / f"{run.name}.pth"
    write_network(run, path)
    if not run.config.disable_backup:
        write_network(run, path.with_name(f"{run.name}.{run.place.run_id}.pth.bk"))


def write_network(run: Run, path: Path) -> None:
    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_network(path, run.network, asdict(run.config))

    run.group.first(write)


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
    best = "" if place.best is None else f"best evaluation {place.best:.5f}, "
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
    add_scalars(run.curves.epochs, {"epoch/train_loss": loss, "epoch/number": place.epoch}, place.step)
    write_loss_csv(run.folder / f"loss_{place.run_id}.csv", place.rows)


def save(run: Run) -> None:
    """Write the checkpoint, whole, after everything that it vouches for is on the disk."""
    config = asdict(run.config) | {"seed": run.place.seed}
    payload = describe(run.network, config) | {
        "optimizer_state_dict": [part.optimizer.state_dict() for part in (run, run.gan) if part],
        "scheduler_state_dict": [],  # rates are a function of the epoch
        "grad_scaler_state_dict": [part.scaler.state_dict() for part in (run, run.gan) if part],
        "best_loss": 1e9 if run.place.best is None else run.place.best,
        "last_epoch": run.place.epoch - 1,
        "backfill": as_payload(
            run.place,
            run.data,
            mining=run.history.state_dict() if run.history else None,
            ema=run.ema.state_dict() if run.ema else None,
            gan=run.gan.state_dict() if run.gan else None,
            averages=averages(run),
        ),
    }

    run.group.first(write_checkpoint, run, payload)


def write_checkpoint(run: Run, payload: dict) -> None:
    try:
        run.curves.flush()
        if run.place.step:  # before, what is there is another run's
            rotate(run.folder, run.name, run.config.keep_checkpoints)
        write_file(checkpoint_path(run.folder, run.name), payload)
    except OSError as error:
        raise OSError(
            f"no checkpoint could be written in {run.folder} ({error.strerror or error}), the one before is as it was: "
            f"make room and go on with --resume"
        ) from error


def averages(run: Run) -> dict[str, torch.Tensor] | None:
    """The averaged weights of a schedule-free optimizer, which --reset-state starts from."""
    if not is_schedule_free(run.optimizer):
        return None
    with averaged(run.optimizer, run.network):
        return {name: weight.detach().cpu().clone() for name, weight in run.network.state_dict().items()}


def say(run: Run, line: str) -> None:
    """A line in the log, once for all processes."""
    if run.group.leads:
        print(line, flush=True)
