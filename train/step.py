"""One optimizer step of the whole job: forward and backward of its sequences, the update, and its bookkeeping."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from tools.cli import UserError, plural
from train.config import FRAMES, Config
from train.data.augment import to_device_batch
from train.data.samples import BadRecord, Sample
from train.evaluation.evaluate import trim
from train.objectives.adversarial import shared_noise
from train.objectives.diff_aug import diff_aug
from train.objectives.gan import AdversarialResult
from train.objectives.learner import Learner
from train.optimizers.optim import StepOutcome, scaled_step
from train.optimizers.recipe import autocast
from train.run import Run
from train.runtime.log import add_scalars
from train.runtime.replicas import last_pass
from train.runtime.seeds import generator
from train.runtime.signals import Unanswered

MAX_SKIPPED = 100  # steps that are not finite, after which an epoch ends the run


@dataclass(frozen=True)
class SequenceResult:
    """What is known of one sequence after its backward pass; all processes gather these."""

    index: int  # of its slot
    record: int
    digest: int
    terms: dict[str, float]  # weighted loss terms, whose sum is the loss
    adversarial: AdversarialResult | None  # with a discriminator
    bad_records: tuple[BadRecord, ...]  # that were tried before its record


class StepReport(NamedTuple):
    """What the loop reports of a step."""

    loss: float  # mean over the sequences
    waited: float  # seconds without a sample


def step(run: Run, samples: Iterator[Sample]) -> StepReport | None:
    """One optimizer step of the whole job; None when the run was stopped before it was complete."""
    job, learner = run.job, run.learner
    started, waited = time.monotonic(), 0.0
    learner.optimizer.zero_grad()
    if learner.gan:
        learner.gan.optimizer.zero_grad()
    own: list[SequenceResult] = []
    for number, size in enumerate(job.passes.sizes):
        # where processes have unequal numbers of passes, the first ones are simultaneous: DDP's first pass after it
        # formed its buckets is a collective operation, too
        if number < job.passes.fewest and job.is_stopping():
            return None
        asked = time.monotonic()
        try:
            batch = [next(samples) for _ in range(size)]
        except Unanswered:
            if job.group.world_size > 1:  # the others wait for this process
                raise
            return None
        waited += time.monotonic() - asked
        own += one_pass(run, batch, is_last=number == len(job.passes.sizes) - 1)
    results = [result for part in job.group.gather_objects(own) for result in part]
    run.data.quarantine.add(record for result in results for record in result.bad_records)
    results.sort(key=lambda result: result.index)  # every sum below is in the order of slots
    matrix = term_matrix(results)
    outcome = update(learner, job.config, bool(torch.isfinite(matrix).all()))
    count(run, results, outcome.healthy)
    if learner.gan:
        discriminator_step(run, [result.adversarial for result in results])
    log_step(run, results, float(outcome.norm), time.monotonic() - started, waited)
    return StepReport(float(matrix.sum(1).mean()), waited)


def one_pass(run: Run, batch: list[Sample], is_last: bool) -> list[SequenceResult]:
    """The results of a pass, whose gradients are added to those of the step; the last one sums over the processes."""
    job, learner, position = run.job, run.learner, run.position
    gens = [generator(position.seed, position.epoch, sample.slot.index, "loss") for sample in batch]
    if is_last:
        job.group.leave_out(job.passes.most - len(job.passes.sizes))
    with last_pass(learner.forward, is_last):
        work = learner, job.config, job.group.device, batch, position.step, gens
        passed = job.group.collective(forward_backward, *work)
    return [
        SequenceResult(sample.slot.index, sample.slot.record, sample.digest, terms, adversarial, sample.bad_records)
        for sample, (terms, adversarial) in zip(batch, passed, strict=True)
    ]


def forward_backward(
    learner: Learner,
    config: Config,
    device: torch.device,
    samples: list[Sample],
    step: int,
    gens: list[torch.Generator],
) -> list[tuple[dict[str, float], AdversarialResult | None]]:
    """One pass over B sequences, which adds their gradients to those of the step.

    Returns the weighted loss terms and the adversarial result of each sequence; they depend on its sample and its
    generator alone, not on the others of the pass, except for rounding.
    """
    frames, holes = to_device_batch(samples, device)  # (B 12 3 S S), (B 12 1 S S)
    with autocast(config, device):
        masked, mask = learner.network.preprocess(frames.flatten(0, 1), holes.flatten(0, 1))
        outputs, targets = learner.forward(masked, mask).float().split(FRAMES), trim(frames)
        pairs = [*zip(outputs, targets, strict=True)]  # (12 3 S-32 S-32) each
        if learner.gan:
            pairs = [shared_noise(*pair, gen) for pair, gen in zip(pairs, gens, strict=True)]
        shown = [(*pair, where) for pair, where in zip(pairs, trim(holes), strict=True)]
        if config.diff_aug and config.loss != "dct":
            shown = [diff_aug(*sequence, gen) for sequence, gen in zip(shown, gens, strict=True)]
        terms = learner.criterion.each(shown, gens)
    losses = [learner.scaler.scale(sum(own.values()) / config.backward_step) for own in terms]
    adversarial: list[AdversarialResult | None] = [None] * len(samples)
    if learner.gan:
        masks = trim(mask).split(FRAMES)
        shown_outputs, shown_targets = ([*part] for part in zip(*pairs, strict=True))
        adversarial = [
            *learner.gan.backward(step, losses, shown_outputs, shown_targets, masks, learner.network, learner.scaler)
        ]
    else:
        torch.autograd.backward(losses)
    values = torch.stack([torch.stack([*own.values()]) for own in terms]).detach().tolist()
    return [(dict(zip(terms[0], row, strict=True)), found) for row, found in zip(values, adversarial, strict=True)]


def term_matrix(results: list[SequenceResult]) -> torch.Tensor:  # -> float64 (sequences terms)
    return torch.tensor([[*result.terms.values()] for result in results], dtype=torch.float64)


def update(learner: Learner, config: Config, loss_is_finite: bool) -> StepOutcome:
    """Step the network's optimizer unless loss or gradient is not finite."""
    outcome = scaled_step(learner.optimizer, learner.scaler, config.clip_grad_norm, loss_is_finite)
    if outcome.stepped and learner.ema:
        learner.ema.update()
    return outcome


def count(run: Run, results: list[SequenceResult], healthy: bool) -> None:
    """Advance the position by one step: the digest of the stream, the sums of the epoch, and losses for mining."""
    position = run.position
    for result in results:
        position.digest = hashlib.sha256(f"{position.digest}{result.digest}".encode()).hexdigest()[:16]
        if healthy:
            position.losses.append((result.record, sum(result.terms.values())))
            position.counted += 1
            for name, value in result.terms.items():
                position.sums[name] = position.sums.get(name, 0.0) + value
    position.slots_done += len(results)
    position.step += 1
    if not healthy:
        count_skipped(run, "loss or gradient")


def count_skipped(run: Run, what: str) -> None:
    """Count and report a skipped step. Raises UserError when there are too many, or with --no-ignore-nan."""
    position = run.position
    position.skipped += 1
    run.job.group.log(f"step {position.step}: {what} is not finite, step skipped ({position.skipped} in this epoch)")
    if not run.job.config.ignore_nan or position.skipped > MAX_SKIPPED:
        raise UserError(
            f"loss or gradient was not finite in {plural(position.skipped, 'step')} of epoch {position.epoch}: "
            f"continue from the last checkpoint with --resume and a lower --learning-rate, --clip-grad-norm 1 "
            f"or --amp-float bf16"
        )


def discriminator_step(run: Run, results: list[AdversarialResult]) -> None:
    """Step the discriminator; `results` are those of all sequences, in the order of their slots."""
    gan, step = run.learner.gan, run.position.step
    if not gan.update(run.job.group, results):
        count_skipped(run, "loss or gradient of the discriminator")
    if is_logged(run):
        add_scalars(run.curves.steps, gan.curves(results, step), step)


def is_logged(run: Run) -> bool:
    """Whether TensorBoard gets points of this step, on this process."""
    return bool(run.curves) and run.position.step % run.job.config.log_every_steps == 0


def log_step(run: Run, results: list[SequenceResult], norm: float, seconds: float, waited: float) -> None:
    """Add the points of the step to TensorBoard."""
    if not is_logged(run):
        return
    group = run.learner.optimizer.param_groups[0]
    terms = dict(zip(results[0].terms, term_matrix(results).mean(0).tolist(), strict=True))
    values = {f"train/{name}": value for name, value in terms.items()}
    values |= {"train/loss": sum(terms.values()), "train/gradient_norm": norm}
    values |= {"rates/learning_rate": group["lr"], "rates/weight_decay": group["weight_decay"]}
    values |= {
        "speed/sequences_per_second": run.job.config.backward_step / seconds,
        "speed/data_wait": waited / seconds,
    }
    if run.throughput:
        values |= run.throughput.curves(run.job.config.backward_step / run.job.group.world_size, seconds)
    add_scalars(run.curves.steps, values, run.position.step)
