"""The messages of packing before, during and after the work, and its checks for conflicts."""

import sys
from pathlib import Path

from pack.config import Config
from pack.packing import Outcome, VideoTask
from pack.shards.exclusion import MORE_HOLES
from pack.shards.record import video_key
from pack.video.reader import probe
from tools.cli import Progress, UserError, duration, plural
from tools.cli.program import is_of_file


def refuse_same_names(videos: list[Path]) -> None:
    """Raise UserError where records of two videos would have the same keys: 8 digits of a digest of their names."""
    seen: dict[str, Path] = {}
    for video in videos:
        key = video_key("", "", video.name)
        if key in seen:
            raise UserError(
                f"records of {seen[key]} and {video} would have the same keys: rename one of them, "
                f"or pack it in a run of its own with another --prefix"
            )
        seen[key] = video


def refuse_differences(tasks: list[VideoTask]) -> None:
    """Raise UserError where a video's shards were packed with other settings or from another file."""
    different = [task for task in tasks if task.state.differences]
    if different:
        first, others = different[0], len(different) - 1
        more = f" (and {plural(others, 'more video')})" if others else ""
        raise UserError(
            f"{first.path.name} is packed already, but {'; '.join(map(str, first.state.differences))}{more}: "
            f"pass the earlier settings to continue it, --overwrite to replace it, or another --prefix"
        )


def expected_clips(task: VideoTask, config: Config) -> int:
    """About how many clips of the video are still to be packed; 0 for one that cannot be opened."""
    try:
        video = probe(task.path)
    except (UserError, OSError) as error:  # reported when the video is packed
        if not is_of_file(error):
            raise
        return 0
    frames = video.frames * min(1, config.max_fps / video.fps) if video.fps else video.frames
    clips = (frames - config.skip_first + config.skip_interval) // (config.seq + config.skip_interval)
    return max(0, int(clips) - task.state.next_clip)


class ProgressReport:
    """The progress line, and a line for each video that is done."""

    def __init__(self, tasks: list[VideoTask], config: Config):
        self.progress = Progress(sum(expected_clips(task, config) for task in tasks), "clips", "packing")
        self.clips, self.config = 0, config
        self.is_only_video = len(tasks) == 1  # its failure is printed once, as the error that ends the program

    def clip_done(self, video: str) -> None:
        self.clips += 1
        self.progress.total = max(self.progress.total, self.clips)
        self.progress.update(self.clips, video)

    def video_done(self, outcome: Outcome) -> Outcome:
        self.progress.close()
        if not (self.is_only_video and outcome.failure):
            print(summary(outcome, self.config), flush=True)
        return outcome


def summary(outcome: Outcome, config: Config) -> str:
    if outcome.failure:
        return f"{outcome.video}: failed"
    counts = f"{outcome.video}: {plural(outcome.records, 'record')} from {plural(outcome.clips, 'clip')}"
    if outcome.skipped:
        return f"{counts}, packed before"
    rejected = f", {rejected_text(outcome.rejected, config)}" if outcome.rejected else ""
    return f"{counts}, {plural(outcome.cuts, 'cut')}{rejected}, {duration(outcome.seconds)}"


def rejected_text(count: int, config: Config) -> str:
    more = " or crossed ones" if config.max_crossed < 1 else ""
    return f"{plural(count, 'record')} left out for too few holes{more}"


def more_holes(config: Config) -> str:
    """What to do where no record has enough holes; --divergence-level means nothing where --divergence is given."""
    if not config.divergence:
        return MORE_HOLES
    return "choose videos with more depth or motion, or a larger divergence (--divergence; in make film DIVERGENCE)"


def show_plan(tasks: list[VideoTask], config: Config) -> int:
    """Print what a run would do; the exit status is 1 where a run would be refused."""
    for task in tasks:
        state = task.state
        if state.differences:
            plan = f"clashes: {'; '.join(map(str, state.differences))}"
        elif state.done:
            plan = f"done, {plural(state.records, 'record')} in {plural(len(state.parts), 'shard')}"
        else:
            after = f", {plural(state.next_clip, 'clip')} packed before" if state.next_clip else ""
            plan = f"to do, about {plural(expected_clips(task, config), 'clip')}{after}"
        print(f"{task.path.name}: {task.shard_name} {plan}")
    return int(any(task.state.differences for task in tasks))


def report(outcomes: list[Outcome], seconds: float, config: Config) -> int:
    """Print the result of the whole job; the exit status is 1 where a video failed.

    Raises UserError where the only video failed.
    """
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed and len(outcomes) == 1:
        raise UserError(failed[0].failure)
    fresh = [outcome for outcome in outcomes if not outcome.failure and not outcome.skipped]
    print(
        f"{plural(len(fresh), 'video')} packed into {config.data_dir}, "
        f"{len(outcomes) - len(fresh) - len(failed)} packed before, {len(failed)} failed; "
        f"{plural(sum(o.clips for o in fresh), 'clip')}, {plural(sum(o.records for o in fresh), 'record')}, "
        f"{plural(sum(o.cuts for o in fresh), 'cut')}, {rejected_text(sum(o.rejected for o in fresh), config)}; "
        f"{duration(seconds)}"
    )
    for outcome in failed:
        print(f"failed: {outcome.failure}", file=sys.stderr)
    if any(o.rejected for o in fresh) and not any(o.records for o in fresh):
        placed = (
            f" that are crossed in at most {config.max_crossed:g} of their pixels" if config.max_crossed < 1 else ""
        )
        print(f"warning: no record has enough holes{placed}: {more_holes(config)}")
    return int(bool(failed))
