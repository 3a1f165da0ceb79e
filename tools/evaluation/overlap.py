"""The frames of context of iw3's queue, as a user writes them."""

from tools.cli import UserError

Overlap = tuple[int, int]  # frames before and after those that a pass emits
USUAL: Overlap = (3, 3)
QUEUE = 12  # frames


def parse_overlap(numbers: tuple[int, ...]) -> Overlap:
    """Leading and trailing frames of context from one number, which is both, or two. Raises UserError."""
    said = f"--overlap-frames {' '.join(map(str, numbers))}"
    if len(numbers) not in (1, 2):
        raise UserError(f"{said}: expected one or two numbers, as in 3 or 3 0")
    before, after = (*numbers, *numbers)[:2]
    if min(before, after) < 0 or before + after >= QUEUE:
        raise UserError(f"{said}: expected 0 or more each and at most {QUEUE - 1} together, as in 3 3 or 3 0")
    return before, after


def named(overlap: Overlap) -> str:
    """What is added to the name of a streamed network where its context is not the usual one."""
    return "" if overlap == USUAL else f" {overlap[0]} {overlap[1]}"
