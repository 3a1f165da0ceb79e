"""Checks that the states in a checkpoint fit the run that they are loaded into: names, shapes, and finite values.

`fields` checks what a file says by itself; here it is compared with the network, optimizer and dataset of the run,
before any of them is changed.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from tools.cli import UserError
from train.data.mining import KEPT, History
from train.objectives.learner import Learner

ADVICE = "copy it again, use an earlier one, or load its weights alone with --reset-state"


def check_states(saved: Mapping[str, Any], learner: Learner, history: History | None) -> None:
    """Raise UserError where a state of the checkpoint does not fit the run."""
    ours, optimizers, scalers = saved["backfill"], saved["optimizer_state_dict"], saved["grad_scaler_state_dict"]
    expected = 2 if learner.gan else 1
    if not len(optimizers) == len(scalers) == expected:
        raise _refusal("optimizers", f"{len(optimizers)} states, expected {expected}")
    _check_optimizer("optimizer", optimizers[0], learner.optimizer)
    _check_numbers("gradient scaler", scalers[0])
    if learner.gan:
        _check_optimizer("optimizer of the discriminator", optimizers[1], learner.gan.optimizer)
        _check_numbers("gradient scaler of the discriminator", scalers[1])
        _check_gan(ours.get("gan"), learner)
    if learner.ema:
        _check_ema(ours.get("ema"), learner.network)
    if history:
        _check_mining(ours.get("mining"), sum(row[2] for row in ours["data"]["shards"]))


def _check_optimizer(name, state, optimizer):
    groups, values = state.get("param_groups"), state.get("state")
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if not isinstance(groups, list) or not isinstance(values, dict) or not all(map(_is_group, groups)):
        raise _refusal(name, "no groups and values")
    if [len(group["params"]) for group in groups] != sizes:
        raise _refusal(name, f"groups of {[len(group['params']) for group in groups]} weights, expected {sizes}")
    numbers = [number for group in groups for number in group["params"]]
    if len(set(numbers)) != len(numbers):
        raise _refusal(name, "a weight twice")
    shapes = dict(zip(numbers, (p.shape for group in optimizer.param_groups for p in group["params"]), strict=True))
    for number, value in values.items():
        if number not in shapes or not isinstance(value, dict):
            raise _refusal(name, f"values of an unknown weight {number!r:.40}")
        for part in value.values():
            if isinstance(part, torch.Tensor) and part.shape not in (shapes[number], torch.Size()):
                raise _refusal(name, f"values of shape {tuple(part.shape)}, expected {tuple(shapes[number])}")
            if not _is_finite(part):
                raise _refusal(name, "values that are not finite numbers")


def _is_group(group):
    return isinstance(group, dict) and isinstance(group.get("params"), list) and all(map(_is_number, group["params"]))


def _is_number(value):
    return type(value) is int and value >= 0


def _is_finite(part):
    if isinstance(part, torch.Tensor):
        return part.layout == torch.strided and bool(part.isfinite().all())
    return part is None or type(part) in (bool, int) or (type(part) is float and math.isfinite(part))


def _check_numbers(name, state):
    if not all(isinstance(key, str) and _is_finite(value) for key, value in state.items()):
        raise _refusal(name, "values that are not finite numbers")


def _check_gan(state, learner):
    if not isinstance(state, dict) or not {"name", "weights", "adaptive"} <= state.keys():
        raise _refusal("discriminator", "not the state of one")
    if state["name"] == learner.gan.config.discriminator:
        _check_weights("discriminator", state["weights"], learner.gan.network.state_dict())
    adaptive = state["adaptive"]
    if not isinstance(adaptive, dict) or "value" not in adaptive or not all(map(_is_finite, adaptive.values())):
        raise _refusal("discriminator", "values that are not finite numbers")


def _check_ema(state, network):
    if not isinstance(state, dict) or not _is_number(state.get("steps")):
        raise _refusal("moving average", "not the state of one")
    if state.get("weights") != {}:  # empty before the first update
        _check_weights("moving average", state.get("weights"), dict(network.named_parameters()))


def _check_weights(name, weights, expected):
    if not isinstance(weights, dict) or weights.keys() != expected.keys():
        raise _refusal(name, "other weights than the network's")
    for key, weight in weights.items():
        if not isinstance(weight, torch.Tensor) or weight.shape != expected[key].shape or not _is_finite(weight):
            raise _refusal(name, f"{key:.60} of another shape, or not finite")


def _check_mining(state, records):
    parts = [state.get(name) for name in ("seen", "losses", "counts")] if isinstance(state, dict) else [None]
    if not all(isinstance(part, torch.Tensor) and part.layout == torch.strided for part in parts):
        raise _refusal("losses of records", "not the state of hard-example mining")
    seen, losses, counts = parts
    kinds = (seen.dtype, losses.dtype, counts.dtype) == (torch.int64, torch.float32, torch.uint8)
    if not kinds or seen.ndim != 1 or losses.shape != (KEPT, len(seen)) or counts.shape != seen.shape:
        raise _refusal("losses of records", "tables of other types or shapes")
    if state.get("records") != records:
        raise _refusal("losses of records", f"{state.get('records')!r:.40} records, expected {records}")
    usual = bool(((seen >= 0) & (seen < records)).all()) and bool(((counts >= 1) & (counts <= KEPT)).all())
    if not usual or len(seen.unique()) != len(seen) or not bool(losses.isfinite().all()):
        raise _refusal("losses of records", "values out of range")


def _refusal(name, found):
    return UserError(f"the checkpoint is damaged ({name}: {found}): {ADVICE}")
