"""Joins the parts of a film with the sound, subtitles, titles and chapters of its source."""

import os
from collections.abc import Iterator
from pathlib import Path

import av

from pack.video.container import open_container
from pack.video.output.encoder import REORDER, TIME_BASE
from pack.video.output.mp4_boxes import state_languages, state_packing
from pack.video.output.parts import JOINED, Parts
from pack.video.output.track_copier import TrackCopier
from pack.video.output.tracks import FORMATS, Track
from tools.cli import UserError


def join(parts: Parts, source: Path, tracks: list[Track], whole: bool = True) -> None:
    """Write the film of all parts, with the tracks, titles and chapters of its source; it appears whole or not at all.

    Where the film is not `whole`, the sound ends with its last picture. The same parts give the same bytes.
    """
    # in the folder, so that nothing else is left of a killed process
    film = parts.folder / f"{JOINED}{parts.out.suffix}"
    # bitexact: no random identifiers; unofficial: the stereo mode in MP4, which is not in ISO's standard
    options = {"fflags": "+bitexact", "strict": "unofficial"}
    try:
        with (
            av.open(f"file:{film}", "w", format=FORMATS[film.suffix.lower()], options=options) as out,
            TrackCopier(source, tracks, out) as copier,
        ):
            for packet in _pictures(parts, out, copier):
                copier.write_until(packet.dts * TIME_BASE)
                out.mux(packet)
            copier.finish(None if whole else parts.ticks[-1] * TIME_BASE)
            languages = copier.languages
        if film.suffix.lower() != ".mkv":
            state_packing(film, parts.encoding.stereo_mode)
        if film.suffix.lower() == ".mov":
            state_languages(film, languages)
        with open(film, "rb") as file:
            os.fsync(file.fileno())
        os.replace(film, parts.out)
    finally:
        film.unlink(missing_ok=True)


def _pictures(parts: Parts, out: av.container.OutputContainer, copier: TrackCopier) -> Iterator[av.Packet]:
    """The packets of all parts in the order of decoding, with the time stamps of the film."""
    ticks, video, first = parts.ticks, None, 0
    step = round(1 / (parts.rate * TIME_BASE))
    shown = [ticks[0] - (REORDER - n) * step for n in range(REORDER)] + ticks + [ticks[-1] + step]
    for number, count in enumerate(parts.counts):
        with open_container(parts.path(number)) as container:
            source = container.streams.video[0]
            if video is None:
                video = _start(source, parts, out, copier)
            packets = [packet for packet in container.demux(source) if packet.size]
        if len(packets) != count:
            raise UserError(f"{parts.path(number)} is damaged: delete {parts.folder} to begin anew")
        for decoded, packet in enumerate(packets, first):
            frame = first + packet.pts  # numbers in a part begin at REORDER, as those of `shown` do
            copy = av.Packet(bytes(packet))
            copy.stream, copy.time_base, copy.is_keyframe = video, TIME_BASE, packet.is_keyframe
            copy.pts, copy.dts, copy.duration = shown[frame], shown[decoded], shown[frame + 1] - shown[frame]
            yield copy
        first += count


def _start(source, parts, out, copier):
    """The stream of `out` that takes the parts' packets, after the header is written."""
    video = out.add_stream_from_template(source)
    video.time_base, video.codec_context.framerate = TIME_BASE, parts.rate
    if parts.encoding.stereo_mode:
        video.metadata["stereo_mode"] = parts.encoding.stereo_mode
    if out.format.name != "matroska" and parts.encoding.codec != "h264":
        video.codec_context.codec_tag = "hvc1"  # the one of HEVC's two tags in MP4 that Apple's players know
    copier.add_streams()
    out.start_encoding()
    return video
