"""Kinds of holes, named after the warp that opens them, and shares of them as a user writes them.

`forward` is iw3's forward warp, `mlbw` its learned warp `mlbw_l2`, `monobw` its monotone backward warp.
"""

import math
from collections.abc import Mapping

from tools.cli import UserError

FORWARD, MLBW, MONOBW = "forward", "mlbw", "monobw"
KINDS = (FORWARD, MLBW, MONOBW)
MIX, AUTO = "mix", "auto"
MASKS = {FORWARD: "forward_warp", MLBW: "mask_mlbw", MONOBW: "monobw"}  # in a record's JSON: what made its masks
IW3_METHODS = {"forward_inpaint": FORWARD, "mlbw_l2_inpaint": MLBW, "monobw_inpaint": MONOBW}

Shares = Mapping[str, float]  # of each kind; they sum to 1


def parse_shares(flag: str, text: str, has_network: bool) -> Shares:
    """The share of each kind: "forward", "mix" for equal shares, or "mix:forward=1,monobw=2".

    `has_network`: whether the file of the learned warp is given. Raises UserError.
    """
    name, _, given = text.partition(":")
    if name == MIX and given:
        parts = [_share(flag, part) for part in given.split(",")]
        shares = dict(parts)
        if len(shares) < len(parts):
            raise UserError(f"{flag} {text} names a kind twice")
    elif text == MIX:
        shares = {kind: 1.0 for kind in KINDS if kind != MLBW or has_network}
    elif text in KINDS:
        shares = {text: 1.0}
    else:
        raise UserError(f"{flag} {text}: expected {', '.join(KINDS)}, {MIX} or shares as in {MIX}:forward=1,monobw=2")
    total = sum(shares.values())
    if not total > 0 or math.isinf(total):
        raise UserError(f"{flag} {text}: the shares sum to {total:g}: give at least one kind a share above 0")
    if shares.get(MLBW) and not has_network:
        raise UserError(f"{flag} {text}: {MLBW} needs iw3's file of the learned warp: pass it with --mask-model")
    return {kind: shares[kind] / total for kind in KINDS if shares.get(kind)}


def _share(flag: str, part: str) -> tuple[str, float]:
    kind, _, number = (word.strip() for word in part.partition("="))
    if kind not in KINDS:
        raise UserError(f'{flag}: "{kind}" is not a kind of holes: expected {", ".join(KINDS)}')
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise UserError(f'{flag}: the share of {kind} is "{number}", expected a number of 0 or more, as in {kind}=2')
    return kind, share


def parse_method(flag: str, text: str, has_network: bool) -> str:
    """The kind that a method of iw3 or one of our names means. Raises UserError."""
    kind = IW3_METHODS.get(text, text)
    if kind not in KINDS:
        raise UserError(f"{flag} {text}: expected one of {', '.join((*KINDS, *IW3_METHODS))}")
    if kind == MLBW and not has_network:
        raise UserError(f"{flag} {text} needs iw3's file of the learned warp: pass it with --mask-model")
    return kind


def choose_kind(shares: Shares, number: float) -> str:
    """The kind that a random number, uniform in [0, 1), selects."""
    *others, last = shares
    for kind in others:
        number -= shares[kind]
        if number < 0:
            return kind
    return last


def kind_of(info: Mapping[str, object]) -> str:
    """The kind of a record's holes by its JSON; records of earlier versions and of iw3 have forward holes."""
    return next((kind for kind, mask in MASKS.items() if info.get("mask") == mask), FORWARD)
