"""Evaluates the network of a run, and says whether it is the best so far, and what it has come to pass."""

import contextlib

from train.config import Config
from train.evaluation.evaluate import FILLS, Result, evaluate
from train.evaluation.metrics import HIGHER
from train.run import Run, evaluated_weights, say
from train.runtime.anomalies import quarantine
from train.runtime.log import Curves, add_scalars

AVERAGED, RAW = "eval", "eval_raw"  # curves of what is exported, and of the weights that --ema-model averages


def evaluate_epoch(run: Run) -> bool | None:
    """Evaluate and log; whether the network is the best so far, None when a signal came before all was known."""
    results = evaluate_weights(run)
    if results is None:
        return None
    place, result = run.place, results[AVERAGED]
    quarantine(run, [fault for result in results.values() for fault in result.faults])
    run.group.first(draw_evaluations, run.curves, results, place.step)
    place.evaluated = result.metrics["loss"]
    best = is_better(run.config.eval_metric, result.metrics[run.config.eval_metric], place.best)
    if best:
        place.best, place.best_metrics = result.metrics[run.config.eval_metric], result.metrics
    say(run, f"epoch {place.epoch}: evaluation {numbers(result)}{' (best)' if best else ''}")
    if RAW in results:
        say(run, f"epoch {place.epoch}: evaluation of the raw weights {numbers(results[RAW])}")
    tell_passed(run, result.metrics)
    return best


def is_due(config: Config, epoch: int) -> bool:
    """Whether the epoch ends with an evaluation."""
    return epoch % config.eval_step == 0 or epoch == config.epochs


def evaluate_weights(run: Run) -> dict[str, Result] | None:
    """What evaluation finds of the weights that are exported and, with --ema-model, of the raw ones beside them."""
    weights = {AVERAGED: evaluated_weights(run)} | ({RAW: contextlib.nullcontext()} if run.ema else {})
    results = {}
    for name, these in weights.items():
        pictures = run.folder / "eval" if name == AVERAGED else None
        with these:
            results[name] = evaluate(
                run.network, run.criterion, run.eval_samples, run.group, run.eval_workers, run.stop,
                run.config.save_eval_step, pictures,
            )  # fmt: skip
        if results[name] is None:
            return None
    return results


def draw_evaluations(curves: Curves, results: dict[str, Result], step: int) -> None:
    for run, result in results.items():
        add_scalars(curves.epochs, {f"{run}/{name}": value for name, value in result.metrics.items()}, step)
        for number, picture in result.pictures.items():
            curves.epochs.add_image(f"{run}/{number}", picture, step, dataformats="HWC")


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether the value is the best so far; never, when it is NaN."""
    if best is None:
        return value == value
    return value > best if metric in HIGHER else value < best


def numbers(result: Result) -> str:
    """The network's metrics in a line."""
    fills = tuple(f"_{fill}" for fill in FILLS)
    return ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if not name.endswith(fills))


def tell_passed(run: Run, metrics: dict[str, float]) -> None:
    """Say when the network fills better than a simple fill for the first time."""
    for fill in FILLS:
        ours, theirs = metrics["masked_psnr"], metrics[f"masked_psnr_{fill}"]
        if ours > theirs and fill not in run.place.passed:
            run.place.passed.append(fill)
            say(run, f"epoch {run.place.epoch}: passes {fill.replace('_', ' ')} in holes, {ours:.2f} > {theirs:.2f} dB")


def shown(metric: str) -> str:
    """The metric's name in a line, where the loss that is evaluated stands beside that of training."""
    return "evaluation" if metric == "loss" else metric
