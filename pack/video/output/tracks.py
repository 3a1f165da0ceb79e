"""Decides before a film is written whether each sound and subtitle track is copied, converted or left out.

A track is copied if the container takes it, which a trial with its first packets shows; otherwise sound is converted.
"""

import io
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import av
from av.stream import Discard, Disposition
from av.subtitles.stream import SubtitleStream

from pack.video.container import catching_damage, demux, of_other_programs, open_container, picture_of, recording_of
from pack.video.joined import first_start, read_parts
from pack.video.output.sound import is_ambisonic
from pack.video.output.subtitles import TEXT, SubtitleConverter
from tools.cli import UserError

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
CONVERTED = {"mp4": "aac", "mov": "aac", "matroska": "flac"}
CONVERTED_TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
# What FFmpeg writes of what a track is for; another mark is lost.
MARKS = {
    "mp4": "default dub comment forced hearing_impaired visual_impaired captions descriptions".split(),
    "mov": ["default"],
    "matroska": "default dub original comment forced hearing_impaired visual_impaired".split(),
}
HEAD = 8  # packets of a track that are tried
LOOK = 4000  # packets of a file among which they are looked for

Sound = Literal["auto", "copy", "convert", "none"]


@dataclass(frozen=True)
class Track:
    """A track of the source other than its picture."""

    index: int  # among the source's streams
    label: str  # "audio track 1 (aac, eng)"
    codec: str  # that is written: "copy", the name of an encoder, or "" where the track is left out
    reason: str = ""  # why it is not copied
    lost: str = ""  # what the container cannot say of it

    def __str__(self) -> str:
        name = {"mov_text": "MP4's timed text", "subrip": "SubRip"}.get(self.codec, self.codec.upper())
        done = {"copy": "copied", "": "left out"}.get(self.codec, f"converted to {name}")
        lost = f"without the mark {self.lost}" if self.lost else ""
        return f"{self.label}: {', '.join(filter(None, (done, self.reason, lost)))}"


def plan_tracks(source: Path, out: Path, sound: Sound = "auto") -> list[Track]:
    """What happens to each track of `source` in the film `out`; no file is written.

    Raises UserError for an `out` of unknown format, and where `sound` is "copy" and the container cannot hold it.
    """
    form = FORMATS.get(out.suffix.lower())
    if form is None:
        raise UserError(f"{out}: expected a name that ends with one of {', '.join(FORMATS)}")
    with open_container(source, first_start(source)) as container:
        picture = picture_of(container)
        others = [
            stream
            for stream in container.streams
            if (picture is None or stream.index != picture.index) and not _has_chapters(stream)
        ]
        foreign = of_other_programs(container)
        read = [one for one in others if one.type in ("audio", "subtitle") and one.index not in foreign]
        heads = read_heads(container, read)
        later, more = _later_sound(source, container)
        planned = []
        for number, stream in enumerate(others, 1):
            is_foreign, head = stream.index in foreign, heads.get(stream.index, ())
            asked: Sound = "none" if is_foreign else sound
            track = _plan(stream, number, form, asked, head, out, later.get(stream.index, ""))
            if is_foreign:
                track = Track(stream.index, track.label, "", "it belongs to another program of the recording")
            planned.append(replace(track, lost=_lost_marks(stream, form)) if track.codec else track)
        return planned + more


def counterparts(
    first: av.container.InputContainer, later: av.container.InputContainer
) -> dict[int, int]:  # by index of the later one's stream: that of the first one's
    """Which tracks continue which where recordings were joined: the nth sound the nth sound, subtitles likewise."""
    found = {}
    for kind in ("audio", "subtitle"):
        ours, theirs = ([s.index for s in one.streams if s.type == kind and s.codec_context] for one in (first, later))
        found |= dict(zip(theirs, ours, strict=False))
    return found


def continues(codec: str, first: av.stream.Stream, later: av.stream.Stream) -> bool:
    """Whether a track that is written as `codec` ("copy", or an encoder's name) can go on with another stream."""
    if isinstance(first, av.AudioStream) and isinstance(later, av.AudioStream):
        return codec != "copy" or _form(first) == _form(later)
    return first.codec_context.name == later.codec_context.name


def _form(sound: av.AudioStream) -> tuple:
    context = sound.codec_context
    return context.name, context.profile, context.sample_rate, context.layout.nb_channels


def _later_sound(source: Path, container: av.container.InputContainer) -> tuple[dict[int, str], list[Track]]:
    """What the sound becomes that could not be copied behind a joint, by index of its stream, and tracks only there."""
    becomes: dict[int, str] = {}
    more: list[Track] = []
    if (recording := recording_of(container)) is None or recording.change is None:
        return becomes, more
    with closing(read_parts(source, needs_picture=False)) as parts:
        for part in parts:
            tracks = counterparts(container, part.container)
            for sound in (stream for stream in part.container.streams.audio if stream.codec_context):
                if sound.index not in tracks:
                    label = f"further sound ({sound.codec_context.name})"
                    more.append(Track(-1, label, "", "it begins with another recording that is joined"))
                elif not continues("copy", container.streams[tracks[sound.index]], sound):
                    becomes.setdefault(tracks[sound.index], sound.codec_context.name)
    return becomes, more


def _has_chapters(stream: av.stream.Stream) -> bool:
    """Whether it is the track of titles of an MP4's chapters, which are read as such."""
    return stream.type == "data" and stream.discard == Discard.all


def _lost_marks(stream: av.stream.Stream, form: str) -> str:
    marks = [mark.name or "" for mark in Disposition if mark and mark & stream.disposition]
    return ", ".join(mark for mark in marks if mark not in MARKS[form]) if stream.type != "attachment" else ""


def _plan(
    stream: av.stream.Stream, number: int, form: str, sound: Sound, head: Sequence[av.Packet], out: Path, later: str
) -> Track:  # later: what the track becomes where it could not be copied any more
    context = stream.codec_context
    codec = context.name if context else "unknown codec"
    language = stream.language if stream.language not in (None, "und") else ""
    if stream.type == "data":  # such as a clock, or what a camera measured
        codec = stream.metadata.get("timecode") or stream.metadata.get("handler_name", "").strip() or codec
    label = f"{stream.type} track {number} ({', '.join(filter(None, (codec, language)))})"
    if stream.type == "attachment" and context is None:  # a font of subtitles, mostly
        name = f"attachment {stream.name or number}"
        lacks = Track(stream.index, name, "", f"{out.suffix} cannot hold it, .mkv may")
        return Track(stream.index, name, "copy") if form == "matroska" else lacks
    if stream.type == "video":
        still = stream.disposition & Disposition.attached_pic
        return Track(stream.index, label, "", "it is a still picture" if still else "one picture track is converted")
    if stream.type not in ("audio", "subtitle"):
        return Track(stream.index, label, "", "it is neither sound nor subtitles")
    if context is None:
        return Track(stream.index, label, "", "its codec is unknown")
    if stream.type == "audio" and sound == "none":
        return Track(stream.index, label, "", "as --sound none asks")
    # Programs with FFmpeg before 6 play PCM of 24 bits in MP4 as noise, browsers and televisions play none.
    is_rare = form == "mp4" and sound == "auto" and codec.startswith("pcm_")
    copied = stream.type == "subtitle" or (sound != "convert" and not later and not is_rare)
    if copied and takes(form, stream, head):
        return Track(stream.index, label, "copy")
    if stream.type == "subtitle" and converts(form, stream):
        return Track(stream.index, label, CONVERTED_TEXT[form], f"{out.suffix} cannot hold {codec}")
    if stream.type == "subtitle":
        return Track(
            stream.index, label, "", f"{out.suffix} cannot hold it{', .mkv may' if form != 'matroska' else ''}"
        )
    if not _decodes(stream, head):
        return Track(stream.index, label, "", "it cannot be decoded")
    joint = f"it becomes {later} where another recording is joined"
    if sound == "copy" and later:
        raise UserError(f"{label} cannot be copied, {joint}: pass --sound convert")
    if sound == "copy":
        raise UserError(f"{out} cannot hold {label} as it is: pass OUT={out.stem}.mkv (-o), or --sound convert")
    reason = f"few programs play {codec} in {out.suffix}" if is_rare else f"{out.suffix} cannot hold {codec}"
    reason = "as --sound convert asks" if sound == "convert" else joint if later else reason
    if isinstance(stream, av.AudioStream) and is_ambisonic(stream.layout):
        reason += "; ambisonic sound becomes stereo"
    return Track(stream.index, label, CONVERTED[form], reason)


def read_heads(
    container: av.container.InputContainer, streams: Sequence[av.stream.Stream]
) -> dict[int, list[av.Packet]]:
    """The first packets of each stream that are shown or heard.

    FFmpeg knows the rate of sound that begins late, as behind a joint of recordings, only when it has read so far.
    """
    heads: dict[int, list[av.Packet]] = {stream.index: [] for stream in streams if stream.codec_context}
    wanted = {stream.index for stream in streams if stream.type == "audio" and stream.codec_context}
    for number, packet in enumerate(demux(container, [s for s in streams if s.codec_context]) if heads else ()):
        head = heads[packet.stream.index]
        # What an edit list cuts off says nothing: of such packets decoders give no sound.
        if packet.size and not packet.is_discard and len(head) < HEAD:
            head.append(packet)
        if number > LOOK or all(len(heads[index]) == HEAD for index in wanted):
            break
    return heads


def takes(form: str, stream: av.stream.Stream, head: Iterable[av.Packet]) -> bool:
    """Whether a container of this format can hold the stream, as a trial with its first packets shows."""
    last = None
    with catching_damage(ValueError):  # which PyAV raises for a codec that the format does not list
        with av.open(io.BytesIO(), "w", format=form) as out:
            copy = out.add_stream_from_template(stream)
            out.start_encoding()
            for packet in head:
                trial = av.Packet(bytes(packet))
                trial.time_base, trial.stream = packet.time_base, copy
                trial.dts = packet.dts if packet.dts is not None else packet.pts
                trial.pts = packet.pts if packet.pts is not None else packet.dts
                if trial.dts is None or (last is not None and trial.dts <= last):
                    continue
                last, trial.duration, trial.is_keyframe = trial.dts, packet.duration, True
                out.mux(trial)
        return True
    return False


def converts(form: str, stream: av.stream.Stream) -> bool:
    """Whether subtitles are text that can be written into a container of this format."""
    if not isinstance(stream, SubtitleStream) or stream.codec_context.name not in TEXT:
        return False
    with catching_damage(ValueError), av.open(io.BytesIO(), "w", format=form) as out:
        SubtitleConverter(out, stream, CONVERTED_TEXT[form])
        out.start_encoding()
        return True
    return False


def _decodes(stream: av.stream.Stream, head: Sequence[av.Packet]) -> bool:
    for packet in head:
        with catching_damage(EOFError):
            if packet.decode():
                return True
    return False
