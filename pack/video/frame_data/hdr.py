"""Tone mapping: HDR and wide-gamut codes to BT.709 as an SDR display shows them, by a 3D LUT made from the standards.

Light is in cd/m2, called nits here. The curve is the EETF of BT.2390 from a display of 1000 nits to one of 203 nits,
the reference white of BT.2408, which becomes SDR's peak. It is applied to the largest of R, G and B, so hue and
saturation stay; colours outside BT.709 are moved towards grey of the same luminance until they are inside.
N colours.
"""

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorTrc

from pack.video.frame_data.side_data import Kind, side_data

PEAK = 1000.0  # nits of the display that films are graded on: that of HLG, and of most HDR10 films
WHITE = 203.0  # nits of reference white, BT.2408
GAMMA = 2.4  # of an SDR display, BT.1886
NODES = 65  # along each side of the LUT: within half a level of 8 bits of the formulas

HDR = {int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)}
D65 = (0.3127, 0.3290)
CHROMATICITIES = {  # of red, green and blue
    int(ColorPrimaries.BT709): ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    int(ColorPrimaries.BT2020): ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    int(ColorPrimaries.SMPTE431): ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # P3, its white taken as D65
    int(ColorPrimaries.SMPTE432): ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
WIDE = set(CHROMATICITIES) - {int(ColorPrimaries.BT709)}


@dataclass(frozen=True)
class Hdr:
    """What an HDR film says about its colours."""

    transfer: int  # PQ or HLG, as ITU-T H.273 numbers it
    primaries: int
    mastering: str = ""  # the display that it was graded on, and its brightest light, in the words of x265; "" unknown
    brightest: str = ""

    @property
    def name(self) -> str:
        """ "PQ" or "HLG"."""
        return "PQ" if self.transfer == ColorTrc.SMPTE2084 else "HLG"

    @property
    def x265(self) -> str:
        """What is stated of the display and of the film's light, as parameters of x265."""
        stated = {"master-display": self.mastering, "max-cll": self.brightest}
        return "".join(f":{name}={value}" for name, value in stated.items() if value)

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Hdr | None":
        """That of a frame's film; None for SDR."""
        light = light_of(frame)
        return cls(*light, _mastering(frame), _brightest(frame)) if light and light[0] in HDR else None


def _mastering(frame: av.VideoFrame) -> str:
    """AVMasteringDisplayMetadata: x, y of red, green, blue and white, lowest and highest light, and what is stated."""
    data = side_data(frame, Kind.MASTERING_DISPLAY_METADATA)
    if data is None:
        return ""
    values = np.frombuffer(memoryview(data), np.int32)[:22]
    if not values[20:].all() or not values[1:20:2].all():
        return ""
    numbers = [Fraction(int(a), int(b)) for a, b in values[:20].reshape(-1, 2)]
    red, green, blue, white = (
        f"({round(x * 50000)},{round(y * 50000)})" for x, y in zip(numbers[:8:2], numbers[1:8:2], strict=True)
    )
    low, high = (round(number * 10000) for number in numbers[8:])
    return f"G{green}B{blue}R{red}WP{white}L({high},{low})"


def _brightest(frame: av.VideoFrame) -> str:
    """AVContentLightMetadata: the brightest pixel of the film and the mean of its brightest frame, in nits."""
    data = side_data(frame, Kind.CONTENT_LIGHT_LEVEL)
    return "" if data is None else ",".join(map(str, np.frombuffer(memoryview(data), np.uint32)[:2].tolist()))


def light_of(frame: av.VideoFrame) -> tuple[int, int] | None:
    """Transfer and primaries of a frame that must be tone mapped or whose gamut must be converted, else None."""
    if frame.color_trc in HDR:
        stated = frame.color_primaries in CHROMATICITIES
        return frame.color_trc, frame.color_primaries if stated else int(ColorPrimaries.BT2020)
    return (int(ColorTrc.BT709), frame.color_primaries) if frame.color_primaries in WIDE else None


def to_sdr(codes: np.ndarray, transfer: int, primaries: int) -> np.ndarray:  # (N 3) in [0, 1] -> (N 3) in [0, 1]
    """RGB codes of this transfer and these primaries as RGB codes of BT.709."""
    weights = to_xyz(primaries)[1]
    if transfer == ColorTrc.SMPTE2084:
        light = tone_mapped(pq_to_nits(codes)) / WHITE
    elif transfer == ColorTrc.ARIB_STD_B67:
        light = tone_mapped(hlg_to_nits(codes, weights)) / WHITE
    else:
        light = codes**GAMMA
    light = light @ (np.linalg.inv(to_xyz(int(ColorPrimaries.BT709))) @ to_xyz(primaries)).T
    return into_gamut(light) ** (1 / GAMMA)


def to_xyz(primaries: int) -> np.ndarray:  # (3 3): linear RGB to CIE XYZ, white has Y = 1
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (*CHROMATICITIES[primaries], D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def pq_to_nits(codes: np.ndarray) -> np.ndarray:
    """The EOTF of SMPTE ST 2084: light in cd/m2 of codes in [0, 1], of any shape."""
    power = codes ** (1 / 78.84375)
    return 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def nits_to_pq(nits: np.ndarray | float) -> np.ndarray:
    """The inverse of `pq_to_nits`."""
    power = (np.asarray(nits) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_to_nits(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:  # (N 3), (3,) -> (N 3)
    """The EOTF of HLG on a display of PEAK nits: BT.2100, table 5, gamma 1.2. `weights` are those of luminance."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    return PEAK * (scene @ weights)[:, None] ** 0.2 * scene


def tone_mapped(nits: np.ndarray) -> np.ndarray:  # (N 3) -> (N 3) from 0 to WHITE
    """Light of a display of PEAK nits on one of WHITE nits; the ratios of R, G and B stay."""
    largest = nits.max(1, keepdims=True).clip(1e-9)
    return nits * (curve(largest) / largest)


def curve(nits: np.ndarray) -> np.ndarray:
    """BT.2390's EETF without a lift of black: the identity up to a knee, then a Hermite spline up to WHITE."""
    top = nits_to_pq(PEAK)
    code = (nits_to_pq(nits) / top).clip(0, 1)
    white = nits_to_pq(WHITE) / top
    knee = 1.5 * white - 0.5
    t = ((code - knee) / (1 - knee)).clip(0)
    t2, t3 = t**2, t**3
    bent = (2 * t3 - 3 * t2 + 1) * knee + (t3 - 2 * t2 + t) * (1 - knee) + (3 * t2 - 2 * t3) * white
    return pq_to_nits(np.where(code > knee, bent, code) * top)


def into_gamut(light: np.ndarray) -> np.ndarray:  # (N 3) linear BT.709 -> (N 3) in [0, 1]
    """Colours outside [0, 1] moved towards grey of the same luminance until they are inside."""
    grey = (light @ to_xyz(int(ColorPrimaries.BT709))[1])[:, None].clip(0, 1)
    offset = light - grey
    low, high = offset.min(1, keepdims=True), offset.max(1, keepdims=True)
    share = np.minimum(grey / np.maximum(-low, 1e-12), (1 - grey) / np.maximum(high, 1e-12)).clip(0, 1)
    return (grey + share * offset).clip(0, 1)


@cache
def cube(transfer: int, primaries: int) -> bytes:
    """The LUT as the text of a .cube file: red changes first."""
    colours = sdr_of_nodes(transfer, primaries)
    rows = "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in colours.tolist())
    return f"LUT_3D_SIZE {NODES}\n{rows}\n".encode()


def sdr_of_nodes(transfer: int, primaries: int) -> np.ndarray:  # (NODES ** 3, 3) in [0, 1]
    """RGB codes of BT.709 at the nodes of the LUT: red changes first, blue last."""
    axis = np.linspace(0, 1, NODES)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return to_sdr(np.stack([red, green, blue], -1).reshape(-1, 3), transfer, primaries)


class ToneMapper:
    """Maps frames of 16-bit planar RGB (gbrp16le) of one size, transfer and primaries.

    `white` is their highest code: swscale makes YUV_WHITE of white in YUV.
    """

    FORMAT = "gbrp16le"
    YUV_WHITE = 65280  # 255 * 256, at every depth

    def __init__(self, height: int, width: int, transfer: int, primaries: int, white: int = 65535):
        self.key = height, width, transfer, primaries, white
        with tempfile.NamedTemporaryFile(suffix=".cube") as file:  # read while the filter is made
            file.write(cube(transfer, primaries))
            file.flush()
            self.graph = Graph()
            self.graph.threads = 1
            source = self.graph.add_buffer(
                width=width, height=height, format=av.VideoFormat(self.FORMAT), time_base=Fraction(1, 90000)
            )
            share = white / 65535
            levels = self.graph.add("colorlevels", f"rimax={share}:gimax={share}:bimax={share}")
            lut = self.graph.add("lut3d", f"file={file.name}:interp=tetrahedral")
            self.graph.link_nodes(source, levels, lut, self.graph.add("buffersink")).configure()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:  # (H W 3) uint8
        frame.pts, frame.time_base = 0, Fraction(1, 90000)
        self.graph.push(frame)
        deep = self.graph.vpull().to_ndarray().astype(np.uint32)
        return ((deep * 255 + 32895) >> 16).astype(np.uint8)
