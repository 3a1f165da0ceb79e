"""MPEG-2 in which film is telecined by flags: each second frame asks to show one of its fields again (ISO 13818-2)."""

from fractions import Fraction

import av

FIELD = Fraction(1001, 60000)  # seconds
SEQUENCE, PICTURE = 1, 8  # identifiers of extensions
FLAGS = [(True, True), (False, False), (False, True), (True, False)]  # top field first, and again at the end


def flagged(data: bytes, number: int) -> bytes:
    """A progressive picture of MPEG-2 with the flags of the frame of this number."""
    out, place = bytearray(data), -1
    top, again = FLAGS[number % 4]
    while (place := out.find(b"\0\0\1\xb5", place + 1)) >= 0:
        if out[place + 4] >> 4 == PICTURE:
            out[place + 7] = out[place + 7] & ~0x82 | 0x80 * top | 0x02 * again
        elif out[place + 4] >> 4 == SEQUENCE:
            out[place + 5] &= ~8  # not a progressive sequence, in which a repeat means a whole frame
    return bytes(out)


def write_parts(path, parts):
    """A film of parts (frames, whether they are film of 24 frames a second to be flagged, else video of 30)."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg2video", rate=Fraction(30000, 1001), options={"g": "12", "b": "8M"})
        first = parts[0][0][0]
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        out.start_encoding()
        numbers = [(number, film) for frames, film in parts for number in range(len(frames))]
        packets = [packet for frames, _ in parts for frame in frames for packet in stream.encode(frame)]
        seconds = Fraction(0)
        for packet, (number, film) in zip(packets + stream.encode(), numbers, strict=True):
            copy = av.Packet(flagged(bytes(packet), number) if film else bytes(packet))
            copy.stream, copy.time_base, copy.is_keyframe = stream, Fraction(1, 90000), packet.is_keyframe
            copy.pts = copy.dts = round(seconds / copy.time_base)
            out.mux(copy)
            seconds += FIELD * (2 + (film and FLAGS[number % 4][1]))
    return path
