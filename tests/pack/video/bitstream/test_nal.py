"""The bytes of NAL units show damage, and Dolby Vision, that decoders pass over."""

import av
import pytest

from pack.video.bitstream.nal import Units, is_closed, length_size
from tests.support.media.videos import moving, write

SLICE, SEI = {"h264": b"\x65", "hevc": b"\x26\x01"}, {"h264": b"\x06", "hevc": b"\x4e\x01"}


def with_lengths(*units):
    return b"".join(len(unit).to_bytes(4) + unit for unit in units)


def with_start_codes(*units):
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("size, packed", [(4, with_lengths), (0, with_start_codes)])
def test_zeros_that_an_encoder_would_have_separated_are_damage_in_a_slice(codec, size, packed):
    def whole(unit):
        return Units.of(packed(SEI[codec] + b"\1\2", unit), size, codec).is_whole

    data = SLICE[codec] + bytes(range(1, 50))
    assert whole(data + b"\0\0\3\1" + data)
    assert whole(data + b"\0\0\0"), "zeros may follow a unit"
    assert not whole(data + bytes(3) + data) and not whole(data + b"\0\0\2" + data)
    assert whole(SEI[codec] + bytes(5) + b"\1"), "only slices are pictures"


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_lengths_that_do_not_fit_the_packet_are_damage(codec):
    data = with_lengths(SLICE[codec] + b"\1\2\3", SLICE[codec] + b"\4\5\6")
    assert Units.of(data, 4, codec).is_whole and len(Units.of(data, 4, codec).units) == 2
    assert Units.of(data + b"\0\0\0", 4, codec).is_whole, "FFmpeg ignores fewer than four bytes"
    for broken, units in ((data[:-1], 1), (bytes(40), 0), (data + bytes(8), 2)):
        found = Units.of(broken, 4, codec)
        assert not found.is_whole and len(found.units) == units


@pytest.mark.parametrize("codec, name, size", [
    ("libx264", "a.mp4", 4), ("libx265", "a.mkv", 4), ("libx264", "a.ts", 0), ("libx265", "a.ts", 0),
])  # fmt: skip
def test_packets_of_encoders_are_whole(tmp_path, codec, name, size):
    options = (
        {"x265-params": "log-level=none"}
        if codec == "libx265"
        else {"nal-hrd": "vbr", "maxrate": "1M", "bufsize": "1M"}
    )
    path = write(tmp_path / name, moving(20), codec, options=options)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert length_size(context) == size
        packets = [Units.of(bytes(packet), size, context.name) for packet in container.demux(video=0) if packet.size]
    assert len(packets) == 20
    assert all(packet.is_whole and packet.units and not packet.is_profile_5 for packet in packets)


def test_groups_of_mpeg2_say_whether_they_are_closed(tmp_path):
    for flags, expected in (("+bitexact", [True, False]), ("+cgop", [True, True])):
        options = {"g": "6", "bf": "2", "flags": flags, "sc_threshold": "1000000000"}
        path = write(tmp_path / "a.ts", moving(10), "mpeg2video", options=options)
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.is_keyframe]
        assert [is_closed(packet) for packet in packets] == expected
    assert not is_closed(b"") and not is_closed(b"\0\0\1\xb8")
