"""Pictures as a player shows them: RGB, square pixels, upright.

H height, W width.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from tools.cli import UserError

# Without the last two, swscale's shortcut for 4:2:0 repeats chroma samples and is up to 3 levels off.
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def to_rgb(
    path: str | Path, frame: av.VideoFrame, aspect: Fraction, reformatter: VideoReformatter
) -> np.ndarray:  # (H W 3) uint8
    """The frame as a player shows it; of a pixel of this aspect the shorter side grows, so that no detail is lost.

    Raises UserError for colours that swscale does not know.
    """
    matrix = None
    if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
        # swscale would take BT.601 for all; players take BT.709 for what is larger than any standard definition.
        matrix = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    try:
        scaled = reformatter.reformat(
            frame,
            width=round(frame.width * max(aspect, 1)),
            height=round(frame.height / min(aspect, 1)),
            format="rgb24",
            src_colorspace=matrix,
            interpolation=SCALING,
            threads=1,
        )
    except OSError as error:
        raise UserError(
            f"{path} has colours of matrix {frame.colorspace}, which swscale does not know: encode it in BT.709"
        ) from error
    return upright(scaled.to_ndarray(), frame.side_data.get(SideData.DISPLAYMATRIX))


def upright(picture: np.ndarray, display_matrix) -> np.ndarray:  # (H W 3), 9 int32 or None -> (H W 3) or (W H 3)
    """The picture turned and mirrored as the display matrix asks, by the nearest quarter turn."""
    if display_matrix is None:
        return picture
    # A pixel (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(display_matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
