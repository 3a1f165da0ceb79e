"""Encodes pictures into one part of a film, and says how.

H height, W width; pictures are uint8 (H W 3), those of HDR uint16.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from pack.video.colour import ToYuv
from pack.video.frame_data.hdr import Hdr
from tools.cli import UserError

TIME_BASE = Fraction(1, 90000)  # of films, fine enough for every usual frame rate
PART_BASE = Fraction(1, 1000)  # of a part, in which the time stamp of a frame is its number plus REORDER
BT2020_NCL = 9  # AVCOL_SPC_BT2020_NCL
REORDER = 2  # frames by which decoding is ahead: the depth of the pyramids of B-frames below

CodecName = Literal["h264", "hevc", "hevc10"]


@dataclass(frozen=True)
class _Codec:
    encoder: str
    pix_fmt: str
    crf: int  # where the user asks for none
    options: tuple[tuple[str, str], ...]


# Both encoders write the same bytes for the same pictures, provided that the number of threads is the same, and that
# x264 runs without its AVX-512 code, with which the macroblock tree of many sizes differs from run to run.
CODECS: dict[CodecName, _Codec] = {
    "h264": _Codec("libx264", "yuv420p", 18, (("threads", "4"), ("x264-params", "bframes=3:b-pyramid=normal"))),
    "hevc": _Codec(
        "libx265", "yuv420p", 20, (("x265-params", "log-level=none:info=0:frame-threads=2:bframes=4:open-gop=0"),)
    ),
    "hevc10": _Codec(
        "libx265", "yuv420p10le", 20, (("x265-params", "log-level=none:info=0:frame-threads=2:bframes=4:open-gop=0"),)
    ),
}


@dataclass(frozen=True)
class Encoding:
    """How the pictures of a film are encoded."""

    codec: CodecName = "h264"
    crf: int | None = None  # quality, smaller is better; None: the codec's usual
    stereo_mode: str = ""  # as Matroska's StereoMode, in FFmpeg's words, such as "left_right"

    hdr: Hdr | None = None  # what is stated of HDR; None: SDR

    @property
    def quality(self) -> int:
        """The CRF that is used."""
        return CODECS[self.codec].crf if self.crf is None else self.crf

    def check(self) -> None:
        """Raise UserError where the codec cannot hold HDR, and where this installation of PyAV lacks the encoder."""
        if self.hdr and self.codec != "hevc10":
            raise UserError(f"--hdr keep needs 10 bits, --codec {self.codec} has 8: pass --codec hevc10")
        try:
            av.Codec(CODECS[self.codec].encoder, "w")
        except ValueError as error:  # PyAV's UnknownCodecError is one
            raise UserError(
                f"--codec {self.codec} needs {CODECS[self.codec].encoder}, which this PyAV lacks: pass --codec h264"
            ) from error


def has_avx512() -> bool:
    """Whether the processor has AVX-512, and so AVX2, too."""
    from torch.backends import cpu  # takes a second to import; a program that converts has it

    return cpu.get_cpu_capability() == "AVX512"


class PartWriter:
    """Encodes pictures into a Matroska file that starts with a key frame and refers to no other part.

    with PartWriter(path, encoding, rate) as part:
        part.write(tick, picture)

    Time stamps in the file are frame numbers; the frames get their real ones when the parts are joined.
    """

    def __init__(self, path: Path, encoding: Encoding, rate: Fraction):
        """A part of a film of `rate` frames a second, which need not be constant."""
        self.path, self.encoding, self.rate = path, encoding, rate
        self.video: av.VideoStream | None = None
        self.numbers: dict[int, int] = {}  # of the frames that the encoder holds, by time stamp
        self.frames = self.packets = 0

    def __enter__(self) -> "PartWriter":
        with ExitStack() as stack:
            self.out = stack.enter_context(
                av.open(f"file:{self.path}", "w", format="matroska", options={"fflags": "+bitexact"})
            )
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self.stack:
            if kind is None and self.video is not None:
                self._mux(self.video.encode())

    def write(self, tick: int, picture: np.ndarray) -> None:
        """Append a picture (H W 3) shown at this tick of TIME_BASE. All have one size; odd sides are made even."""
        height, width = picture.shape[:2]
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self.video is None:
            self._start(picture)
        frame = self.to_yuv(picture)
        frame.pts, frame.time_base = tick, TIME_BASE
        self.numbers[tick] = self.frames
        self.frames += 1
        self._mux(self.video.encode(frame))

    def _start(self, picture):
        codec, hdr = CODECS[self.encoding.codec], self.encoding.hdr
        self.to_yuv = ToYuv(*picture.shape[:2], codec.pix_fmt, deep=hdr is not None)
        options = dict(codec.options) | {"crf": str(self.encoding.quality), "preset": "medium"}
        if "x264-params" in options and has_avx512():
            options["x264-params"] += ":asm=avx2"
        if hdr:
            options["x265-params"] += hdr.x265
        self.video = self.out.add_stream(codec.encoder, rate=self.rate, options=options)
        self.video.height, self.video.width, self.video.pix_fmt = *picture.shape[:2], codec.pix_fmt
        context = self.video.codec_context
        context.time_base = TIME_BASE
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if hdr:
            context.colorspace, context.color_primaries, context.color_trc = BT2020_NCL, hdr.primaries, hdr.transfer
        if self.encoding.stereo_mode:
            self.video.metadata["stereo_mode"] = self.encoding.stereo_mode
        self.out.start_encoding()

    def _mux(self, packets):
        for packet in packets:
            packet.pts = self.numbers.pop(packet.pts) + REORDER
            packet.dts, packet.time_base = self.packets, PART_BASE
            self.packets += 1
            self.out.mux(packet)
