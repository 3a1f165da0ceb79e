"""Checks the fields of a resume file when it is read: a damaged or hostile one is a UserError, in one line."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tools.cli import UserError, quoted

LARGEST = {"epoch": 10**6, "step": 10**12, "slots_done": 10**9, "counted": 10**9, "skipped": 10**9, "seed": 2**63 - 1}


def check_fields(saved: dict[str, Any], path: Path, version: int) -> dict[str, Any]:
    """The dict of a resume file. Raises UserError where a field of ours has another type or is out of range.

    A file of iw3, which has no key `backfill`, and one of another version are left as they are.
    """
    ours = saved.get("backfill")
    if ours is None:
        return saved
    if not isinstance(ours, dict) or type(ours.get("version")) is not int:
        raise _refusal(path, "backfill", ours)
    if ours["version"] == version:
        _check(saved, FILE, path)
        _check(ours, OURS, path)
        _check(ours["place"], PLACE, path)
        if unknown := next((name for name in ours["place"] if name not in PLACE), None):
            raise _refusal(path, "place", unknown)
    return saved


def _check(fields, checks, path):
    for name, holds in checks.items():
        if name in fields and not holds(fields[name]):
            raise _refusal(path, name, fields[name])
        if name not in fields and name in REQUIRED:
            raise UserError(f"{path} is damaged ({name} is missing): {ADVICE}")


def _refusal(path, name, value):
    shown = repr(quoted(value)) if isinstance(value, str) else quoted(value)
    return UserError(f"{path} is damaged ({name} is {shown}): {ADVICE}")


ADVICE = "copy it again or use an earlier one"
REQUIRED = "state_dict kwargs train_kwargs optimizer_state_dict grad_scaler_state_dict place data run_id seed".split()


def _is_count(name: str) -> Callable[[Any], bool]:
    least = 1 if name == "epoch" else 0
    return lambda value: type(value) is int and least <= value <= LARGEST[name]


def _is_float(value):  # one of many digits has no float
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _is_optional_float(value):
    return value is None or _is_float(value)


def _is_floats(value):
    return isinstance(value, dict) and all(isinstance(name, str) and _is_float(x) for name, x in value.items())


def _is_dict(value):
    return isinstance(value, dict)


def _is_optional_dict(value):
    return value is None or isinstance(value, dict)


def _is_dicts(value):
    return isinstance(value, list) and len(value) > 0 and all(isinstance(part, dict) for part in value)


def _is_list(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_text(value):
    return isinstance(value, str)


def _is_loss(value):  # (record, loss), of steps that counted
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2
    return is_pair and _is_natural(value[0]) and _is_float(value[1]) and math.isfinite(value[1])


def _is_natural(value):
    return type(value) is int and 0 <= value < 2**40


def _is_row(value):  # of the loss CSV
    return isinstance(value, list) and len(value) == 3 and all(map(_is_optional_float, value))


def _is_shard(value):  # name, sha256, number of records, numbers of excluded ones
    if not isinstance(value, list) or len(value) < 3:
        return False
    return all(map(_is_text, value[:2])) and all(map(_is_natural, value[2:]))


def _is_data(value):
    is_named = isinstance(value, dict) and all(_is_text(value.get(n)) for n in ("fingerprint", "eval_fingerprint"))
    return is_named and _is_list(_is_shard)(value.get("shards"))


def _is_weights(value):
    """Dense and finite tensors by name."""
    return isinstance(value, dict) and all(
        isinstance(weight, torch.Tensor) and weight.layout == torch.strided and bool(weight.isfinite().all())
        for weight in value.values()
    )


FILE = {
    "state_dict": _is_weights,
    "kwargs": _is_dict,
    "train_kwargs": _is_dict,
    "optimizer_state_dict": _is_dicts,
    "grad_scaler_state_dict": _is_dicts,
}
OURS = {
    "place": _is_dict,
    "data": _is_data,
    "mining": _is_optional_dict,
    "ema": _is_optional_dict,
    "gan": _is_optional_dict,
    "averages": lambda value: value is None or _is_weights(value),
}
PLACE = {name: _is_count(name) for name in LARGEST} | {
    "run_id": lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9]{1,20}", value)),  # it names files
    "digest": lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{0,16}", value)),
    "best": _is_optional_float,
    "best_metrics": _is_floats,
    "passed": _is_list(_is_text),
    "evaluated": _is_optional_float,
    "sums": _is_floats,
    "losses": _is_list(_is_loss),
    "rows": _is_list(_is_row),
}
