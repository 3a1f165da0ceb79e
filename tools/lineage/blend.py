"""Averages the weights of networks that one training came from, and says so in the lineage.

A network that was fine-tuned and the one that it started from, averaged, keep most of what either is good at (WiSE-FT:
Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from model.checkpoint import load_network, locate, read_file
from model.light_video_inpaint import LightVideoInpaint
from tools.cli import UserError
from tools.cli.files import file_sha256
from tools.lineage.made_of import lineage_of, list_sources


def read_shares(words: Sequence[str]) -> dict[str, float]:
    """FILE=SHARE words as a dict. Raises UserError where a share is not between 0 and 1, or all sum to 1 or more."""
    shares: dict[str, float] = {}
    for word in words:
        path, _, text = word.rpartition("=")
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if not path or not 0 < share < 1 or path in shares:
            raise UserError(f"--blend {word}: expected FILE=SHARE, with a share between 0 and 1, each file once")
        shares[path] = share
    if sum(shares.values()) >= 1:
        raise UserError(f"--blend {' '.join(words)}: the shares sum to 1 or more, nothing is left for --checkpoint")
    return shares


@torch.no_grad()
def blend(
    net: LightVideoInpaint,
    payload: Mapping[str, Any],
    checkpoint: str,
    shares: Mapping[str, float],
    weights: Literal["averaged", "raw"] = "averaged",
) -> dict[str, Any]:
    """Average the networks of files into `net`; returns what is exported beside the weights, with the lineage of all.

    Raises UserError where a network has another architecture.
    """
    own = 1 - sum(shares.values())
    total = {name: own * weight.double() for name, weight in net.state_dict().items()}
    lineages = [lineage_of(dict(payload))]
    parts, dates = [part(checkpoint, own, lineages[0])], [str(payload.get("updated_at", ""))]
    for path, share in shares.items():
        other = load_network(path, weights=weights)
        if other.kwargs != net.kwargs:
            raise UserError(
                f"--blend {path}: its architecture {other.kwargs} is not {net.kwargs}, that of {checkpoint}"
            )
        for name, weight in other.state_dict().items():
            total[name] += share * weight.double()
        file = read_file(path)
        lineages.append(lineage_of(file))
        parts.append(part(path, share, lineages[-1]))
        dates.append(str(file.get("updated_at", "")))
    net.load_state_dict({name: weight.float() for name, weight in total.items()})
    sources = {str(source): source for found in lineages for source in list_sources(found)}
    settings = payload.get("train_kwargs")
    lineage = lineages[0] | {"blend": parts, "sources": list(sources.values())}
    settings = (settings if isinstance(settings, dict) else {}) | {"lineage": lineage}
    return dict(payload) | {"train_kwargs": settings, "updated_at": max(dates)}


def part(path: str, share: float, lineage: dict[str, Any]) -> dict[str, Any]:
    """Name, sha256 and share of a network of a blend, and whether it says what it was made of."""
    file = locate(path)
    return {"name": file.name, "sha256": file_sha256(file), "share": round(share, 6), "has_lineage": bool(lineage)}
