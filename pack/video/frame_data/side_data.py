"""What FFmpeg attaches to a frame beside its pixels."""

import sys

import av
from av.buffer import Buffer
from av.sidedata.sidedata import Type as Kind


def side_data(frame: av.VideoFrame, kind: Kind) -> Buffer | None:
    """The frame's side data of this kind, None where it has none."""
    return frame.side_data.get(kind)  # type: ignore[call-overload] # the stub takes names alone


def _unnamed(kinds: type[Kind], value: int) -> Kind:
    member = object.__new__(kinds)
    member._name_, member._value_ = f"KIND_{value}", value
    return member


# PyAV 18 raises ValueError for a frame of which any side data is of a kind that it has no name for, such as the Exif
# data in a camera's MJPEG or the displays that spatial video refers to.
Kind._missing_ = classmethod(_unnamed)


# AVStereo3DType: how pictures hold both eyes, and the filter of FFmpeg that takes the left one
PACKINGS = {
    1: ("side by side", "sbsl"),
    2: ("top and bottom", "abl"),
    3: ("one after the other", "al"),
    4: ("in a checkerboard", ""),
    5: ("in a checkerboard", ""),
    6: ("in lines", "irl"),
    7: ("in columns", "icl"),
}
TWO_VIEWS = 8  # AV_STEREO3D_UNSPEC: as in MV-HEVC, of which decoders show the base view


def stereo_notice(frame: av.VideoFrame) -> str:
    """What to say of a film that is said to be stereo already, "" where it is not."""
    data = side_data(frame, Kind.STEREO3D)
    form = int.from_bytes(bytes(data)[:4], sys.byteorder) if data is not None else 0
    if form == TWO_VIEWS:
        return "has two views: the base view, which flat players show, is used"
    if form not in PACKINGS:
        return ""
    words, name = PACKINGS[form]
    remedy = f": make a film of one first, as ffmpeg's filter stereo3d={name}:ml does" if name else ""
    return f"is stereo already, its pictures hold both eyes ({words}) and are taken for flat ones{remedy}"
