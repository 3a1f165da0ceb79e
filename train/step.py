"""One optimizer step of the whole job: its sequences forwards and backwards, the update, and what is known of it."""

import hashlib
import time
from collections.abc import Iterator

import torch

from train.data.samples import Sample
from train.evaluation.evaluate import trim
from train.objectives.adversarial import shared_noise
from train.objectives.diff_aug import diff_aug
from train.optimizers.optim import clip_gradients
from train.optimizers.recipe import autocast
from train.run import Run
from train.runtime.anomalies import quarantine, skip
from train.runtime.log import add_scalars
from train.runtime.seeds import generator


def step(run: Run, samples: Iterator[Sample]) -> float | None:
    """One optimizer step of the whole job; its mean loss, or None when a signal came before it was complete."""
    started, waited = time.monotonic(), 0.0
    run.optimizer.zero_grad()
    if run.gan:
        run.gan.optimizer.zero_grad()
    shown, faults = [], []
    for _ in range(run.config.backward_step // run.group.world_size):
        if run.group.any(bool(run.stop.name)):
            return None
        asked = time.monotonic()
        sample = next(samples)
        waited += time.monotonic() - asked
        terms, judged = forward_backward(run, sample)
        shown.append([sample.position, sample.record, sample.digest, *terms.values(), *judged])
        faults += sample.faults
    run.group.all_reduce_gradients(run.network.parameters())
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
    """Loss terms of one sequence and the columns of its discriminator; adds its gradient to that of the step."""
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


def judge(run: Run, judged: torch.Tensor) -> None:
    """Step the discriminator; judged is (backward_step 4)."""
    if not run.gan.update(run.group, judged):
        skip(run, "loss or gradient of the discriminator")
    if run.curves and run.place.step % run.config.log_every_steps == 0:
        add_scalars(run.curves.steps, run.gan.curves(judged, run.place.step), run.place.step)


def log_step(run: Run, terms: dict[str, float], norm: float, seconds: float, waited: float) -> None:
    if not run.curves or run.place.step % run.config.log_every_steps:
        return
    group = run.optimizer.param_groups[0]
    values = {f"train/{name}": value for name, value in terms.items()}
    values |= {"train/loss": sum(terms.values()), "train/gradient_norm": norm}
    values |= {"rates/learning_rate": group["lr"], "rates/weight_decay": group["weight_decay"]}
    values |= {"speed/sequences_per_second": run.config.backward_step / seconds, "speed/data_wait": waited / seconds}
    add_scalars(run.curves.steps, values, run.place.step)
