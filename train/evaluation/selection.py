"""Evaluates the network of a run and selects the best one."""

import contextlib
import math

from model.checkpoint import first_not_finite
from train.checkpoints.state import Position
from train.config import Config
from train.data.dataset import TrainingData
from train.evaluation.evaluate import FILLS, Result, evaluate
from train.evaluation.metrics import HIGHER
from train.objectives.learner import Learner
from train.runtime.dist import Group
from train.runtime.job import Job
from train.runtime.log import Curves, add_image, add_scalars

AVERAGED, RAW = "eval", "eval_raw"  # curves of the exported weights, and of the raw ones that --ema-model averages


def evaluate_epoch(
    job: Job, learner: Learner, data: TrainingData, position: Position, curves: Curves | None, sound: bool = True
) -> bool | None:
    """Evaluate and log; whether the network is the best so far, or None when the run was stopped before the end.

    A network that is not `sound` (see `is_sound`) is never the best.
    """
    results = evaluate_weights(job, learner, data)
    if results is None:
        return None
    group, result, metric = job.group, results[AVERAGED], job.config.eval_metric
    data.quarantine.add(record for result in results.values() for record in result.bad_records)
    group.first(plot_evaluations, curves, results, position.step)
    position.evaluated = result.metrics["loss"]
    value = result.metrics[metric]
    best = sound and is_better(metric, value, position.best)
    if best:
        position.best, position.best_metrics = value, result.metrics
    group.log(f"epoch {position.epoch}: evaluation {numbers(result)}{' (best)' if best else ''}")
    if not math.isfinite(value):
        group.log(f"warning: epoch {position.epoch}: {metric} is {value}, this network cannot be the best")
    if RAW in results:
        group.log(f"epoch {position.epoch}: evaluation of the raw weights {numbers(results[RAW])}")
    report_passed(group, position, result.metrics)
    return best


def is_sound(job: Job, learner: Learner, epoch: int) -> bool:
    """Whether all weights are finite, those that are evaluated and the raw ones; logs which one is not."""
    broken = job.group.first(_broken_weight, learner)
    if broken:
        job.group.log(f"warning: epoch {epoch}: {broken} of the network holds NaN or infinity: it is not exported")
    return not broken


def _broken_weight(learner):
    with learner.evaluated_weights():
        broken = first_not_finite(learner.network.state_dict())
    return broken or first_not_finite(learner.network.state_dict())


def is_due(config: Config, epoch: int) -> bool:
    """Whether the epoch ends with an evaluation."""
    return epoch % config.eval_step == 0 or epoch == config.epochs


def evaluate_weights(job: Job, learner: Learner, data: TrainingData) -> dict[str, Result] | None:
    """The results of the exported weights and, with --ema-model, of the raw ones; None when the run was stopped."""
    weights = {AVERAGED: learner.evaluated_weights()} | ({RAW: contextlib.nullcontext()} if learner.ema else {})
    assert data.eval_samples is not None
    results: dict[str, Result] = {}
    for name, these in weights.items():
        pictures = job.folder / "eval" if name == AVERAGED else None
        with these:
            result = evaluate(
                learner.network, learner.criterion, data.eval_samples, job.group, data.workers, job.stop,
                job.config.save_eval_step, pictures,
            )  # fmt: skip
        if result is None:
            return None
        results[name] = result
    return results


def plot_evaluations(curves: Curves, results: dict[str, Result], step: int) -> None:
    """Add the metrics and the first pictures to TensorBoard."""
    for run, result in results.items():
        add_scalars(curves.epochs, {f"{run}/{name}": value for name, value in result.metrics.items()}, step)
        for number, picture in result.pictures.items():
            add_image(curves.epochs, f"{run}/{number}", picture, step)


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether the value is the best so far, which one that is not finite never is; any is better than such a best."""
    if not math.isfinite(value):
        return False
    if best is None or not math.isfinite(best):
        return True
    return value > best if metric in HIGHER else value < best


def numbers(result: Result) -> str:
    """The network's metrics in a line."""
    fills = tuple(f"_{fill}" for fill in FILLS)
    return ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if not name.endswith(fills))


def report_passed(group: Group, position: Position, metrics: dict[str, float]) -> None:
    """Log when the network outperforms a simple fill for the first time."""
    for fill in FILLS:
        ours, theirs = metrics["masked_psnr"], metrics[f"masked_psnr_{fill}"]
        if ours > theirs and fill not in position.passed:
            position.passed.append(fill)
            name = fill.replace("_", " ")
            group.log(f"epoch {position.epoch}: better than {name} in holes, {ours:.2f} > {theirs:.2f} dB")


def metric_label(metric: str) -> str:
    """The name of the metric in a log line that also shows the training loss."""
    return "evaluation" if metric == "loss" else metric
