"""What FFmpeg attaches to a frame beside its pixels."""

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
