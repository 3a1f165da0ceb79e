"""The parts of a film: recordings that were joined, each with a picture of its own codec or stream. Most have one.

Both passes over a film, the one that decodes pictures and the one that copies sound, read the same parts.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av

from pack.video.bitstream.program_tables import Change
from pack.video.bitstream.recording import Recording, stride_of
from pack.video.container import open_container, open_video, picture_of, recording_of
from pack.video.timestamps import Packets
from tools.cli import UserError

log = logging.getLogger(__name__)

BLOCK = 2**20  # bytes


@dataclass(frozen=True)
class Part:
    """A part that is opened."""

    number: int
    start: int  # byte
    container: av.container.InputContainer
    before: Packets | None  # those of the part before
    packets: Packets  # which continue them, if they were read to their end

    @property
    def stream(self) -> av.VideoStream:
        """The picture's."""
        stream = picture_of(self.container)
        assert isinstance(stream, av.VideoStream)
        return stream

    @property
    def change(self) -> Change | None:
        """Where the next part begins, as far as that is known before this one is read; None for the last part."""
        recording = recording_of(self.container)
        return recording.change if recording else None


def read_parts(path: str | Path, warn: bool = False, needs_picture: bool = True) -> Iterator[Part]:
    """Each part of a film, closed when the next one is asked for.

    Parts that cannot be opened are left out; `warn` says so. Raises what `open_video` raises where no part can be
    opened, unless the film may be sound alone.
    """
    number, start, before = 0, 0, None
    while True:
        with ExitStack() as stack:
            container, change = None, None
            try:
                container, _ = stack.enter_context(open_video(path, start))
            except UserError as error:
                change = _read_over(path, start)
                if number == 0 and change is None:
                    if needs_picture:
                        raise
                    container = stack.enter_context(open_container(path, start))
                elif warn:
                    log.warning("%s: what is joined from byte %d on is left out: %s", path, start, error)
            if container is not None:
                part = Part(number, start, container, before, Packets(container, before))
                yield part
                number, before, change = number + 1, part.packets, part.change
        if change is None:
            return
        start = change.restart


def first_start(path: str | Path) -> int:
    """The byte from which on the first part is read: 0, unless what a recording begins with cannot be opened."""
    if not Path(path).is_file() or stride_of(path) is None:
        return 0
    with closing(read_parts(path, needs_picture=False)) as parts:
        return next(parts).start


def _read_over(path: str | Path, start: int) -> Change | None:
    """Where the next part begins behind one that cannot be opened."""
    stride = stride_of(path) if Path(path).is_file() else None
    if stride is None:
        return None
    with Recording(path, stride, start) as file:
        for _ in iter(partial(file.read, BLOCK), b""):
            pass
        return file.change
