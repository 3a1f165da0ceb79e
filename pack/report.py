"""What packing says before, during and after the work."""

import sys
from pathlib import Path

from pack.config import Config
from pack.film import Film, Outcome
from pack.video.reader import probe
from tools.cli import Progress, UserError, duration


def refuse_same_names(videos: list[Path]) -> None:
    """Raise UserError where two videos would make records of the same key."""
    seen: dict[str, Path] = {}
    for video in videos:
        if video.name in seen:
            raise UserError(
                f"{seen[video.name]} and {video} would make records of the same key: rename one, "
                f"or pack it in a run of its own with another --prefix"
            )
        seen[video.name] = video


def refuse_differences(films: list[Film]) -> None:
    """Raise UserError where a film's shards were packed with other settings or from another video."""
    others = [film for film in films if film.state.differences]
    if others:
        more = f" (and {len(others) - 1} more videos)" if len(others) > 1 else ""
        raise UserError(
            f"{others[0].path.name} is packed already, but {'; '.join(others[0].state.differences)}{more}: "
            f"pass --overwrite to replace it, or another --prefix"
        )


def expected_clips(film: Film, config: Config) -> int:
    """About how many clips packing the film will still make; a film that does not open counts as none."""
    try:
        video = probe(film.path)
    except (UserError, OSError):
        return 0  # its reason is told when it is packed
    frames = video.frames * min(1, config.max_fps / video.fps) if video.fps else video.frames
    clips = (frames - config.skip_first + config.skip_interval) // (config.seq + config.skip_interval)
    return max(0, int(clips) - film.state.next_clip)


class Board:
    """The progress line, and a line for each film that is done."""

    def __init__(self, films: list[Film], config: Config):
        self.progress = Progress(sum(expected_clips(film, config) for film in films), "clips", "packing")
        self.clips = 0
        self.alone = len(films) == 1  # its failure is told once, as the error that ends the program

    def tell(self, video: str) -> None:
        """A clip of the video is done."""
        self.clips += 1
        self.progress.total = max(self.progress.total, self.clips)
        self.progress.update(self.clips, video)

    def show(self, outcome: Outcome) -> Outcome:
        """A film is done."""
        self.progress.close()
        if not (self.alone and outcome.failure):
            print(summary(outcome), flush=True)
        return outcome


def summary(outcome: Outcome) -> str:
    if outcome.failure:
        return f"{outcome.video}: failed"
    counts = f"{outcome.video}: {outcome.records} records of {outcome.clips} clips"
    if outcome.skipped:
        return f"{counts}, packed before"
    thin = f", {outcome.thin} left out for too few holes" if outcome.thin else ""
    return f"{counts}, {outcome.cuts} cuts{thin}, {duration(outcome.seconds)}"


def show_plan(films: list[Film], config: Config) -> int:
    """Print what a run would do; the exit status is 1 where it would be refused."""
    for film in films:
        state = film.state
        if state.differences:
            plan = f"clashes: {'; '.join(state.differences)}"
        elif state.done:
            plan = f"done, {state.records} records in {len(state.parts)} shards"
        else:
            plan = f"to do, about {expected_clips(film, config)} clips after clip {state.next_clip}"
        print(f"{film.path.name}: {film.name} {plan}")
    return int(any(film.state.differences for film in films))


def report(outcomes: list[Outcome], seconds: float, config: Config) -> int:
    """Print what the whole job came to; the exit status is 1 where a video failed.

    Raises UserError where there was but one video, and it failed.
    """
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed and len(outcomes) == 1:
        raise UserError(failed[0].failure)
    fresh = [outcome for outcome in outcomes if not outcome.failure and not outcome.skipped]
    print(
        f"{len(fresh)} videos packed into {config.data_dir}, {len(outcomes) - len(fresh) - len(failed)} packed before, "
        f"{len(failed)} failed; {sum(o.clips for o in fresh)} clips, {sum(o.records for o in fresh)} records, "
        f"{sum(o.cuts for o in fresh)} cuts, {sum(o.thin for o in fresh)} left out for too few holes; "
        f"{duration(seconds)}"
    )
    for outcome in failed:
        print(f"failed: {outcome.failure}", file=sys.stderr)
    return int(bool(failed))
