"""Converts a sound track while it is copied, without a drift against the picture."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from pack.video.container import catching_damage

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
AAC_BITS = 96_000  # a second and channel
NUMBERS = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
TOLERANCE = Fraction(1, 20)  # seconds that stamps may be off before sound is padded or dropped


class SoundConverter:
    """Decodes the packets of one track and encodes them anew into a stream of `out`.

    Gaps between the packets' stamps are filled with silence and overlaps dropped, so that sound stays with the picture.
    """

    def __init__(self, out: av.container.OutputContainer, source: av.AudioStream, codec: str):
        context = source.codec_context
        self.rate = context.sample_rate if codec == "flac" or context.sample_rate in AAC_RATES else 48000
        channels = 2 if is_ambisonic(context.layout) else context.layout.nb_channels
        self.layout = LAYOUTS.get(channels, "stereo")
        self.stream = out.add_stream(codec, rate=self.rate, layout=self.layout)
        self.form = self.stream.codec_context.format.name if codec == "aac" else "s32"
        if codec == "aac":
            self.stream.bit_rate = AAC_BITS * len(self.stream.layout.channels)
        else:
            self.form = "s16" if context.format and context.format.bytes <= 2 else "s32"
            self.stream.codec_context.format = self.form
        self.resampler: av.AudioResampler | None = None  # for sound that is `heard`
        self.heard: tuple[str, str, int] | None = None  # form, layout and rate of the last frame
        self.next: int | None = None  # number of the sample that is encoded next

    def convert(self, packet: "av.Packet[av.AudioStream]", start: Fraction) -> Iterator[av.Packet]:
        """Encoded packets; `start` is the second of the film's origin."""
        with catching_damage() as caught:
            frames = packet.decode()
        if caught.error:
            return  # the gap is filled with silence
        for frame in frames:
            seconds = None if frame.pts is None else frame.pts * frame.time_base - start
            if is_ambisonic(frame.layout):
                frame = _decoded_to_stereo(frame)
            for ready in self._resampled(frame):
                yield from self._encode(ready, seconds)
                seconds = None  # the rest follows

    def _resampled(self, frame):
        """The frame as it is encoded; tracks of broadcasts change their channels and their rate."""
        heard = (frame.format.name, frame.layout.name, frame.sample_rate)
        if heard != self.heard:
            self.resampler, self.heard = av.AudioResampler(self.form, self.layout, self.rate), heard
        return self.resampler.resample(frame)

    def finish(self) -> Iterator[av.Packet]:
        """What the encoder still holds."""
        if self.next is not None:
            yield from self.stream.encode()

    def _encode(self, frame, seconds):
        at = self.next if seconds is None else round(seconds * self.rate)
        if self.next is None:
            self.next = max(at or 0, 0)
        slack = round(TOLERANCE * self.rate)
        if at is not None and at < self.next - slack:
            return
        while at is not None and at > self.next + slack:
            yield from self._push(self._silence(min(at - self.next, self.rate)))
        yield from self._push(frame)

    def _push(self, frame):
        frame.pts, frame.time_base = self.next, Fraction(1, self.rate)
        self.next += frame.samples
        yield from self.stream.encode(frame)

    def _silence(self, samples):
        packed = av.AudioFormat(self.form).packed.name  # PyAV cannot fill 8 planes
        shape = (1, len(av.AudioLayout(self.layout).channels) * samples)
        frame = av.AudioFrame.from_ndarray(np.zeros(shape, NUMBERS[packed]), packed, self.layout)
        frame.sample_rate = self.rate
        return av.AudioResampler(self.form, self.layout, self.rate).resample(frame)[0]


def is_ambisonic(layout: av.AudioLayout) -> bool:
    """Whether the channels are spherical harmonics, which FFmpeg cannot mix."""
    return layout.name.startswith("ambisonic")


def _decoded_to_stereo(frame: av.AudioFrame) -> av.AudioFrame:
    """What two cardioid microphones, one to each side, hear of ambisonic sound, and its head-locked stereo if any."""
    (packed,) = av.AudioResampler("dbl", frame.layout, frame.sample_rate).resample(frame)
    count = frame.layout.nb_channels
    channels = np.frombuffer(memoryview(packed.planes[0]), np.float64, packed.samples * count).reshape(-1, count)
    # FFmpeg's order is ACN: from all directions, left minus right, ...
    everywhere, sideways = channels[:, 0], channels[:, 1] if count > 1 else 0
    stereo = np.stack([everywhere + sideways, everywhere - sideways], 1) / 2
    if frame.layout.name.endswith("+stereo"):
        stereo += channels[:, -2:]
    made = av.AudioFrame.from_ndarray(stereo.reshape(1, -1), "dbl", "stereo")
    made.sample_rate, made.pts, made.time_base = frame.sample_rate, frame.pts, frame.time_base
    return made
