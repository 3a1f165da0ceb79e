"""Which shots are held out: every seventh, or more of a film with few shots."""

from collections.abc import Sequence
from dataclasses import dataclass

from pack.config import parse_shots

HELD_OUT = 7  # of so many shots one is held out
CLIP = 16  # frames of a record
AIM = 5  # held-out shots at which the certificate aims; of a shorter film more than every seventh shot is held out
LEAST = 3  # held-out shots below which no tuning can be proved, so that none is done
SEPARATE = 8  # held-out shots from which on those that stop the training are not those of the certificate


@dataclass(frozen=True)
class Holding:
    """`--shots` of packing for each split."""

    train: str
    eval: str  # for early stopping
    proof: str  # for the certificate, "" where it uses those of eval


def hold_out(lengths: Sequence[int]) -> Holding | None:
    """The splits of a film with shots of these numbers of frames, None where they are too few."""
    period = max(2, min(HELD_OUT, len(lengths) // AIM))
    first = period // 2
    both = Holding(f"not:{first}/{period}", f"{first}/{period}", "")
    if usable(lengths, both.eval) < LEAST or not usable(lengths, both.train):
        return None
    apart = Holding(both.train, f"{first}/{2 * period}", f"{first + period}/{2 * period}")
    enough = usable(lengths, both.eval) >= SEPARATE and usable(lengths, apart.proof) >= LEAST
    return apart if enough and usable(lengths, apart.eval) else both


def usable(lengths: Sequence[int], rule: str) -> int:
    """How many of the shots that a rule selects have a clip."""
    used = parse_shots(rule)
    return sum(used(number) and frames >= CLIP for number, frames in enumerate(lengths))
