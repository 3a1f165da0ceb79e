"""Pictures as a player shows them: RGB, square pixels, upright.

H height, W width.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.buffer import Buffer
from av.filter import Graph
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from pack.video.bars import NO_BARS, Bars, place
from pack.video.frame_data.hdr import HDR, ToneMapper, light_of
from pack.video.frame_data.side_data import Kind, side_data
from tools.cli import UserError

# Without the last two, swscale's shortcut for 4:2:0 repeats chroma samples and is up to 3 levels off.
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
RGB = {"uint8": "rgb24", "uint16": "rgb48le"}
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}


class ToRgb:
    """Converts the frames of one video to RGB as a player shows them.

    HDR is tone mapped and wide gamuts are converted to BT.709; `codes` are those that the film has.
    """

    def __init__(self, path: str | Path, crop: Bars = NO_BARS):
        self.path, self.crop = path, crop  # cropped are decoded frames, before they are turned
        self.reformatter = VideoReformatter()
        self.mapper: ToneMapper | None = None

    def __call__(self, frame: av.VideoFrame, aspect: Fraction) -> np.ndarray:  # (H W 3) uint8
        """The upright picture; of a pixel of this aspect the shorter side grows, so that no detail is lost.

        Raises UserError for colours that swscale does not know.
        """
        light = light_of(frame)
        if light is None:
            return self._shown(self._scaled(frame, aspect, "rgb24").to_ndarray(), frame)
        deep = self._scaled(frame, aspect, ToneMapper.FORMAT)
        key = (deep.height, deep.width, *light, white_of(frame))
        if self.mapper is None or self.mapper.key != key:
            self.mapper = ToneMapper(*key)
        return self._shown(self.mapper(deep), frame)

    def codes(self, frame: av.VideoFrame, aspect: Fraction) -> np.ndarray:  # (H W 3) uint16
        """The upright picture in the film's own RGB codes, HDR too."""
        deep = self._scaled(frame, aspect, ToneMapper.FORMAT).to_ndarray()
        white = white_of(frame)
        return self._shown(np.minimum(deep * (65535 / white) + 0.5, 65535).astype(np.uint16), frame)

    def _shown(self, picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:  # (H W 3) -> (H' W' 3)
        return upright(self._cropped(picture, frame), side_data(frame, Kind.DISPLAYMATRIX))

    def _cropped(self, picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:  # (H W 3) -> (H' W' 3)
        height, width = frame.height, frame.width
        if not self.crop or self.crop.top + self.crop.bottom >= height or self.crop.left + self.crop.right >= width:
            return picture
        part = self.crop.crop_map(picture.transpose(2, 0, 1), (height, width)).transpose(1, 2, 0)
        return np.ascontiguousarray(part)

    def _scaled(self, frame: av.VideoFrame, aspect: Fraction, form: str) -> av.VideoFrame:
        matrix = None
        if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
            matrix = guess_matrix(frame)
        try:
            return self.reformatter.reformat(
                frame,
                width=round(frame.width * max(aspect, 1)),
                height=round(frame.height / min(aspect, 1)),
                format=form,
                src_colorspace=matrix,
                interpolation=SCALING,
                threads=1,
            )
        except OSError as error:
            name = f" ({MATRICES[frame.colorspace]})" if frame.colorspace in MATRICES else ""
            raise UserError(
                f"{self.path} has colours of matrix {frame.colorspace}{name}, which swscale does not know: "
                f"encode it in BT.709"
            ) from error


def white_of(frame: av.VideoFrame) -> int:
    """The code of white after swscale has made 16-bit RGB of a frame."""
    return 65535 if frame.format.is_rgb else ToneMapper.YUV_WHITE


def guess_matrix(frame: av.VideoFrame) -> int:
    """The matrix that players use for a frame that states none; swscale would use BT.601 for all."""
    if frame.color_trc in HDR:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


def upright(
    picture: np.ndarray, display_matrix: Buffer | None
) -> np.ndarray:  # (H W 3), 9 int32 or None -> (H W 3) or (W H 3)
    """The picture turned and mirrored as the display matrix asks, by the nearest quarter turn."""
    if display_matrix is None:
        return picture
    # A pixel (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(memoryview(display_matrix), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def fit_into(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (H W 3), (H' W') -> (H' W' 3)
    """The picture scaled to fit into this size, its aspect kept, in the middle of black."""
    if picture.shape[:2] == size:
        return picture
    top, left, high, wide = place(picture.shape, size)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), RGB[picture.dtype.name])
    scaled = frame.reformat(width=wide, height=high, interpolation=SCALING, threads=1).to_ndarray()
    out = np.zeros((*size, 3), picture.dtype)
    out[top : top + high, left : left + wide] = scaled
    return out


class ToYuv:
    """Converts RGB pictures of one size to limited range in 4:2:0, chroma sited at the left as H.264 assumes.

    8-bit pictures become BT.709, 16-bit ones BT.2020. swscale by itself sites chroma in the middle, which moves
    colours by half a pixel.
    """

    FLAGS = "bicubic+accurate_rnd+full_chroma_inp+full_chroma_int"

    def __init__(self, height: int, width: int, pix_fmt: str = "yuv420p", deep: bool = False):
        self.graph, self.form = Graph(), RGB["uint16" if deep else "uint8"]
        source = self.graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(self.form), time_base=Fraction(1, 90000)
        )
        matrix = "bt2020" if deep else "bt709"
        options = f"out_color_matrix={matrix}:out_range=tv:out_chroma_loc=left:flags={self.FLAGS}"
        self.graph.link_nodes(
            source,
            self.graph.add("scale", options),
            self.graph.add("format", pix_fmt),
            self.graph.add("buffersink"),
        ).configure()

    def __call__(self, picture: np.ndarray) -> av.VideoFrame:  # (H W 3) uint8, or uint16 where it is deep
        if self.form == RGB["uint16"]:  # whose white swscale takes for this code
            picture = np.round(picture * np.float32(ToneMapper.YUV_WHITE / 65535)).astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), self.form)
        frame.pts, frame.time_base = 0, Fraction(1, 90000)
        self.graph.push(frame)
        return self.graph.vpull()
