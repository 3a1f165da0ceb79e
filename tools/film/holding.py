"""Which shots are held out, and which of them are for validation and which for the test.

Every seventh shot is held out, or more of a film with few shots. Of those with records, the validation shots end the
tuning and choose its best network; the test shots measure it in the certificate. A shot that did both would flatter it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pack.config import parse_shots

HELD_OUT = 7  # of so many shots one is held out
CLIP = 16  # frames of a record
AIM = 6  # held-out shots at which the certificate aims; of a shorter film more than every seventh shot is held out
LEAST = 3  # test shots, below which no tuning can be proved, so that none is done
VALIDATION = 3  # of so many held-out shots one is for validation


@dataclass(frozen=True)
class Holding:
    """`--shots` of packing for both splits."""

    train: str
    eval: str


@dataclass(frozen=True)
class Roles:
    """Keys of held-out records: those that choose the network, and those of the certificate."""

    validation: frozenset[str]
    test: frozenset[str]

    @property
    def apart(self) -> bool:
        """Whether no record does both."""
        return not self.validation & self.test


def hold_out(lengths: Sequence[int]) -> Holding | None:
    """The splits of a film with shots of these numbers of frames, None where they are too few."""
    period = max(2, min(HELD_OUT, len(lengths) // AIM))
    found = Holding(f"not:{period // 2}/{period}", f"{period // 2}/{period}")
    return found if usable(lengths, found.eval) >= LEAST and usable(lengths, found.train) else None


def usable(lengths: Sequence[int], rule: str) -> int:
    """How many of the shots that a rule selects have a clip."""
    used = parse_shots(rule)
    return sum(used(number) and frames >= CLIP for number, frames in enumerate(lengths))


def divide(shots: Mapping[str, int]) -> Roles | None:
    """The roles of held-out records, given the shot of each key; None where their shots are too few for a test.

    With LEAST shots all of them do both; with more, one of VALIDATION is for that, spread over the film.
    """
    keys: dict[int, set[str]] = defaultdict(set)
    for key, shot in shots.items():
        keys[shot].add(key)
    if len(keys) < LEAST:
        return None
    if len(keys) == LEAST:
        return Roles(frozenset(shots), frozenset(shots))
    chosen = sorted(keys)[1::VALIDATION]
    validation = frozenset(key for shot in chosen for key in keys[shot])
    return Roles(validation, frozenset(shots) - validation)
