"""Missing reference pictures of H.264 are found by the frame numbers of its slices."""

import av
import pytest

from pack.video.bitstream.frame_numbers import FrameNumbers
from pack.video.bitstream.nal import Units, length_size
from tests.support.media.videos import moving, write


def packets(path):
    """The NAL units of each packet, whether it is a key frame, and whether it is a reference."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        size = length_size(stream.codec_context)
        found = [
            (Units.of(bytes(packet), size, "h264").units, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size
        ]
        return FrameNumbers(stream.codec_context), [
            (units, is_key, any(unit[0] & 31 in (1, 5) and unit[0] & 0x60 for unit in units if unit))
            for units, is_key in found
        ]


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
@pytest.mark.parametrize(
    "params", ["bframes=0:keyint=50", "bframes=3:b-pyramid=normal:slices=3:keyint=20", "interlaced=1:cqm=jvt"]
)
def test_a_skip_is_a_reference_that_is_missing(tmp_path, name, params):
    path = write(tmp_path / name, moving(40), options={"x264-params": params})
    numbers, read = packets(path)
    assert not any(numbers.skip(units, is_key) for units, is_key, _ in read)
    for missing in range(1, 30):
        numbers, read = packets(path)
        _, is_key, is_reference = read.pop(missing)
        skips = [numbers.skip(units, key) for units, key, _ in read]
        # what follows a lost key frame has numbers that may go on by chance
        assert skips[missing] == is_reference or is_key or read[missing][1]


def test_damaged_headers_say_nothing(tmp_path):
    numbers, read = packets(write(tmp_path / "a.ts", moving(10), options={"bf": "0"}))
    broken = [unit[:2] for unit in read[0][0]]
    assert not numbers.skip(broken, True)
    assert not any(numbers.skip(units, is_key) for units, is_key, _ in read[1:])
    assert not numbers.skip([b"", b"\x41", b"\x41" + bytes(80)], False)
