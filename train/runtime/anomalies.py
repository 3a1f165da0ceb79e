"""What a run leaves out, counts and tells of, until it is too much: steps that are not finite, records that are bad."""

from tools.cli import UserError
from train.checkpoints.state import write_quarantine
from train.data.samples import BadRecord
from train.run import Run, say

SKIPS = 100  # steps that are not finite, after which an epoch ends the run
BAD_SHARE, BAD_FEW = 0.001, 3  # of the records may be bad, or a few in a small dataset


def skip(run: Run, what: str) -> None:
    """Count a step that was left out, and end the run when there are too many."""
    place = run.place
    place.skipped += 1
    say(run, f"step {place.step}: {what} is not finite, skipped ({place.skipped} in this epoch)")
    if not run.config.ignore_nan or place.skipped > SKIPS:
        raise UserError(
            f"{place.skipped} steps of epoch {place.epoch} were not finite: go on from the last checkpoint "
            f"with --resume and a lower --learning-rate, --clip-grad-norm 1 or --amp-float bf16"
        )


def quarantine(run: Run, faults: list[BadRecord]) -> None:
    """Name bad records in quarantine.jsonl, once each, and end the run when there are too many."""
    new = {fault.key: fault for fault in faults if fault.key not in run.bad}
    if not new:
        return
    run.bad |= new
    if not run.config.dry_run:
        run.group.first(write_quarantine, run.folder, run.bad.values())
    for fault in new.values():
        say(run, f"bad record {fault.key} in {fault.shard} is not used: {fault.reason}")
    if len(run.bad) > max(BAD_FEW, BAD_SHARE * run.plan.count):
        raise UserError(
            f"{len(run.bad)} of {run.plan.count} records are bad (see {run.folder / 'quarantine.jsonl'}): "
            f"copy or pack their shards again, remove that file and go on with --resume"
        )
