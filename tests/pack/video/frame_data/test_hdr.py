"""HDR becomes SDR by the formulas of SMPTE ST 2084, BT.2100, BT.2390 and BT.1886, which are written here once more."""

import math

import av
import numpy as np
import pytest

from pack.video.frame_data.hdr import Hdr, ToneMapper, curve, to_sdr
from pack.video.reader import probe, read_timed
from tests.support.media.videos import COLORS, corners, planes, quarters, write
from tools.synthesis.tone import SeesSdr
from tools.synthesis.views import as_frames

PQ, HLG, SDR = 16, 18, 1  # transfers
BT709, BT2020 = 1, 9  # primaries
LEVELS = np.array([0, 2, 5, 10, 26, 50, 90, 120, 203, 400, 700, 1000], float)  # nits


def pq(nits):
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    y = (nits / 10000) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


def hlg(nits):
    """The code of grey of so many nits on a display of 1000: the inverse of E ** 1.2 * 1000."""
    scene = (nits / 1000) ** (1 / 1.2)
    return math.sqrt(3 * scene) if scene <= 1 / 12 else 0.17883277 * math.log(12 * scene - 0.28466892) + 0.55991073


def sdr(nits):
    """The 8-bit level of grey of so many nits: BT.2390 from 1000 to 203 nits, then BT.1886."""
    lowest, top = pq(203) / pq(1000), pq(1000)
    knee, code = 1.5 * lowest - 0.5, min(pq(nits) / top, 1)
    if code > knee:
        t = (code - knee) / (1 - knee)
        code = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * lowest
    y = max((code * top) ** (1 / 78.84375) - 0.8359375, 0)
    light = 10000 * (y / (18.8515625 - 18.6875 * (y + 0.8359375))) ** (1 / 0.1593017578125) if y else 0
    return 255 * (light / 203) ** (1 / 2.4)


def hdr_film(path, columns, transfer, primaries=BT2020, matrix=9, codec="ffv1"):
    """Three frames whose columns, 8 pixels each, are grey of these codes in [0, 1]; 10 bits in limited range."""
    luma = np.round(64 + 876 * np.repeat(columns, 8)).astype("<u2")
    frame = av.VideoFrame(len(luma), 64, "yuv420p10le")
    for plane, row in zip(frame.planes, (luma, *2 * [np.full(len(luma) // 2, 512, "<u2")]), strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
        rows[:, : len(row)] = row
        plane.update(rows)
    color = {"colorspace": matrix, "color_trc": transfer, "color_primaries": primaries, "color_range": 1}
    return write(path, [frame] * 3, codec, color=color)


def greys(path):
    """The colours of the columns: (N 3)."""
    return next(read_timed(path, 30)).pixels[32, 4::8].astype(int)


def test_the_codes_of_the_standards_give_the_light_of_the_standards():
    assert pq(203) == pytest.approx(0.58, abs=0.001) and hlg(203) == pytest.approx(0.75, abs=0.001)  # BT.2408, table 1
    assert pq(26) == pytest.approx(0.38, abs=0.002) and hlg(26) == pytest.approx(0.38, abs=0.005)  # grey card of 18 %


@pytest.mark.parametrize("transfer, code", [(PQ, pq), (HLG, hlg)])
def test_grey_of_known_light_gets_its_level_and_stays_neutral(tmp_path, transfer, code):
    found = greys(hdr_film(tmp_path / "a.mkv", [code(nits) for nits in LEVELS], transfer))
    expected = [sdr(nits) for nits in LEVELS]
    assert np.ptp(found, axis=1).max() == 0
    assert np.abs(found[:, 0] - expected).max() <= 1  # half of it is the film's 10 bits
    assert found[0, 0] == 0 and found[-1, 0] == 255
    assert 228 <= found[8, 0] <= 232  # reference white, which leaves a tenth for highlights


def test_the_same_light_looks_the_same_in_pq_and_hlg(tmp_path):
    first = greys(hdr_film(tmp_path / "a.mkv", [pq(nits) for nits in LEVELS], PQ))
    second = greys(hdr_film(tmp_path / "b.mkv", [hlg(nits) for nits in LEVELS], HLG))
    assert np.abs(first - second).max() <= 2


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_grey_ramp_is_monotone_and_neutral(tmp_path, transfer):
    found = greys(hdr_film(tmp_path / "a.mkv", np.linspace(0, 1, 200), transfer))
    assert np.diff(found[:, 0]).min() >= 0 and np.ptp(found, axis=1).max() == 0
    assert len(set(found[:, 0])) > 100


@pytest.mark.parametrize("primaries, matrix", [(BT709, 1), (BT2020, 9), (2, 2), (BT2020, 2)])
def test_pq_is_found_by_its_transfer_whatever_matrix_and_primaries_are_stated(tmp_path, primaries, matrix):
    found = greys(hdr_film(tmp_path / "a.mkv", [pq(nits) for nits in LEVELS], PQ, primaries, matrix))
    assert np.abs(found[:, 0] - [sdr(nits) for nits in LEVELS]).max() <= 1


@pytest.mark.parametrize("transfer", [PQ, HLG, SDR])
@pytest.mark.parametrize("primaries", [BT709, BT2020, 11, 12])
def test_every_colour_is_inside_the_gamut_and_its_luminance_order_is_kept(transfer, primaries):
    share = np.linspace(0, 1, 33)
    for colour in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)):
        found = to_sdr(share[:, None] * np.array(colour), transfer, primaries)
        assert found.min() >= 0 and found.max() <= 1
        assert np.diff(found.max(1)).min() >= -1e-9
        order = [found[20, channel] for channel in range(3) if colour[channel]]
        assert min(order) > max((found[20, channel] for channel in range(3) if not colour[channel]), default=-1)


def test_colours_inside_bt709_keep_their_chromaticity_below_the_knee():
    light = np.array([[20.0, 30.0, 60.0], [80.0, 40.0, 30.0], [50.0, 90.0, 40.0]])  # nits, BT.709
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
    codes = np.vectorize(pq)(light @ to_2020.T)
    assert np.abs(to_sdr(codes, PQ, BT2020) - (light / 203) ** (1 / 2.4)).max() < 0.002


def test_the_curve_is_the_identity_in_the_shadows_and_ends_at_reference_white():
    assert curve(np.array([0.0, 1, 26, 80])) == pytest.approx([0, 1, 26, 80], abs=1e-6)
    assert curve(np.array([1000.0, 10000])) == pytest.approx([203, 203])
    assert np.diff(curve(np.linspace(0, 1000, 500))).min() > 0


@pytest.mark.parametrize("transfer", [PQ, HLG, SDR])
def test_the_lut_is_the_formulas_for_colours_inside_bt709(transfer):
    gen = np.random.default_rng(0)
    codes = (gen.uniform(0.35, 0.7, (64, 64, 1)) + gen.uniform(-0.03, 0.03, (64, 64, 3))) * 65535
    frame = av.VideoFrame.from_ndarray(codes.astype(np.uint16), "gbrp16le")
    expected = 255 * to_sdr(codes.astype(np.uint16).reshape(-1, 3) / 65535, transfer, BT2020)
    inside = (expected.min(1) > 25) & (expected.max(1) < 220)  # where the gamut ends, the formulas have a kink
    assert inside.mean() > 0.5
    assert np.abs(ToneMapper(64, 64, transfer, BT2020)(frame).reshape(-1, 3) - expected)[inside].max() < 1.5


def test_sdr_of_bt2020_primaries_is_converted_and_of_bt709_is_left_alone(tmp_path):
    frame = planes(quarters(), "bt2020", False, "yuv420p10le")
    same = write(tmp_path / "a.mkv", [frame], "ffv1", color={"colorspace": 9, "color_primaries": 1})
    wide = write(tmp_path / "b.mkv", [frame], "ffv1", color={"colorspace": 9, "color_primaries": 9, "color_trc": 14})
    assert np.abs(corners(next(read_timed(same, 30)).pixels) - COLORS).max() <= 1
    expected = 255 * to_sdr(COLORS.reshape(-1, 3) / 255, 14, BT2020).reshape(2, 2, 3)
    found = corners(next(read_timed(wide, 30)).pixels)
    assert np.abs(found - expected).max() <= 6
    assert (np.ptp(found, -1) >= np.ptp(COLORS.astype(int), -1)).all()  # more saturated in the smaller gamut


def test_codes_stay_as_they_are_where_hdr_is_kept(tmp_path):
    path = hdr_film(tmp_path / "a.mkv", [0.2, 0.5, 0.58], PQ)
    picture = next(read_timed(path, 30, keep_codes=True))
    found = picture.codes[32, 4::8] / 65535
    assert np.abs(found - [[0.2], [0.5], [0.58]]).max() < 0.75 / 876  # of the film's 10 bits
    assert np.array_equal(picture.pixels, next(read_timed(path, 30)).pixels)
    assert probe(path).hdr == Hdr(PQ, BT2020) and probe(path).hdr.name == "PQ"


def test_depth_models_see_hdr_as_it_looks_in_sdr(tmp_path):
    path = hdr_film(tmp_path / "a.mkv", np.linspace(0.1, 0.75, 40), PQ)
    picture = next(read_timed(path, 30, keep_codes=True))
    seen = SeesSdr(lambda frames: frames, Hdr(PQ, BT2020))(as_frames([picture.codes] * 2, "cpu"))
    assert np.abs(255 * seen.permute(0, 2, 3, 1).numpy() - picture.pixels).max() < 6  # trilinear
