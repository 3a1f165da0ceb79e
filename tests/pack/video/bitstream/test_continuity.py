"""Packets that a recording lost, found by its continuity counters."""

import numpy as np
import pytest

from pack.video.bitstream.continuity import Continuity, stuffing
from pack.video.bitstream.recording import Recording
from pack.video.reader import read_timed
from tests.support.media.videos import moving, write

PICTURE = 256


def packet(counter, begins=False, pad=0, payload=True, jump=False, fill=0):
    """A packet of the picture with `pad` bytes that say nothing."""
    row = np.full(188, fill, np.uint8)
    has_field = pad > 0 or jump or not payload
    row[:4] = 0x47, 1 | (0x40 if begins else 0), 0, counter % 16 | (0x10 if payload else 0) | (0x20 if has_field else 0)
    if has_field:
        row[4:6] = max(pad, 1) if payload else 183, 0x80 if jump else 0
    return row


def losses(*rows, at_once=True):
    seen = Continuity(PICTURE)
    whole, places = np.stack(rows), 188 * np.arange(len(rows))
    for block in [slice(None)] if at_once else [slice(n, n + 1) for n in range(len(rows))]:
        seen.add(whole[block], places[block])
    return [(loss.place // 188, loss.inside) for loss in seen.losses]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "rows, expected",
    [
        ([packet(14), packet(15), packet(16)], []),
        ([packet(3), packet(5)], [(1, True)]),  # the rest of a picture
        ([packet(3, pad=9), packet(5, begins=True)], [(1, False)]),  # behind the padded end of one
        ([packet(3), packet(5, begins=True)], [(1, True)]),  # its end is missing
        ([packet(3), packet(9, jump=True)], []),  # is meant to jump
        ([packet(3), packet(3), packet(4)], []),  # is sent twice
        ([packet(3), packet(3, fill=1), packet(4)], [(1, True)]),  # is another one
        ([packet(3), packet(3, payload=False), packet(4)], []),  # has no payload and so does not count
        ([packet(3, pad=9), packet(3, payload=False), packet(5, begins=True)], [(2, False)]),
    ],
)
def test_a_counter_that_jumps_is_a_loss_unless_it_may(rows, expected, at_once):
    assert losses(*rows, at_once=at_once) == expected


def test_a_packet_with_an_error_is_one():
    wrong = packet(4)
    wrong[1] |= 0x80
    assert losses(packet(3), wrong, packet(5)) == [(1, True)]


def test_a_clock_reference_is_no_padding():
    row = packet(0, begins=True, pad=7)
    assert stuffing(row) == 6
    row[5] = 0x10
    assert stuffing(row) == 0


@pytest.mark.parametrize(
    "codec, options", [("libx264", {"bf": "2", "sc_threshold": "0"}), ("mpeg2video", {"bf": "2", "qscale": "6"})]
)
def test_no_picture_is_broken_or_late_where_any_packet_is_lost(tmp_path, codec, options):
    """Decoders give whole pictures behind damaged ones that are shown later."""
    path = write(tmp_path / "a.ts", moving(30), codec, options={"g": "12"} | options)
    whole = {picture.seconds: picture.pixels for picture in read_timed(path, 30)}
    data = path.read_bytes()
    with Recording(path, 188) as file:
        file.read()
        assert not file.continuity.losses
    pictures = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] in (b"\x01\x00", b"\x41\x00")]
    for lost in pictures[3 :: len(pictures) // 12]:
        path.write_bytes(data[:lost] + data[lost + 188 :])
        for picture in read_timed(path, 30):
            assert np.array_equal(picture.pixels, whole[picture.seconds]), (lost, picture.seconds)
