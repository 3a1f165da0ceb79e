"""Small videos with known content, encoded by PyAV itself."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

LIMITED, FULL = 1, 2  # AVColorRange
MATRICES = {"bt601": (6, 0.299, 0.114), "bt709": (1, 0.2126, 0.0722), "bt2020": (9, 0.2627, 0.0593)}
COLORS = np.array([[[200, 40, 90], [30, 180, 60]], [[50, 70, 220], [240, 235, 20]]], np.uint8)  # of the quarters


def write(path, frames, codec="libx264", rate=25, options=None, times=None, color=(), aspect=None, rotation=None):
    """Encode av.VideoFrames; `times` are their seconds, `color` are attributes of the encoder.

    The bytes are the same on every machine: those of x264 would depend on the number of cores.
    """
    options = ({"threads": "1"} if codec == "libx264" else {}) | (options or {})
    with usual_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for name, value in dict(color).items():
            setattr(stream.codec_context, name, value)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            if times:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@contextlib.contextmanager
def usual_priority() -> Iterator[None]:
    """Undo at the end of the block what SVT-AV1 does as root: real-time priority for the process and its children.

    On one core a process that waits actively then stops the whole machine.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def quarters(height=64, width=96):  # -> (H W 3): one of COLORS in each quarter
    return COLORS.repeat(-(-height // 2), 0).repeat(-(-width // 2), 1)[:height, :width]


def planes(picture, matrix, full, pix_fmt):  # (H W 3) uint8 -> av.VideoFrame
    """The picture in YUV by the equations of BT.601, BT.709 and BT.2020."""
    _, kr, kb = MATRICES[matrix]
    bits = 10 if "10" in pix_fmt else 8
    red, green, blue = np.moveaxis(picture / 255, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = np.stack([(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)])
    if full:
        values = [luma * (2**bits - 1), *(chroma * (2**bits - 1) + 2 ** (bits - 1))]
    else:
        values = [(16 + 219 * luma) * 2 ** (bits - 8), *((128 + 224 * chroma) * 2 ** (bits - 8))]
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], pix_fmt)
    step = 2 if "420" in pix_fmt else 1
    for plane, value, every in zip(frame.planes, values, (1, step, step), strict=True):
        samples = np.round(value[::every, ::every]).astype(np.uint16 if bits == 10 else np.uint8)
        rows = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        rows[:, : samples.shape[1]] = samples
        plane.update(rows)
    return frame


def corners(picture):  # (H W 3) -> (2 2 3): the colours amid the quarters
    height, width, _ = picture.shape
    return picture[[height // 4, -height // 4]][:, [width // 4, -width // 4]].astype(int)


def grey(level, size=(96, 64)):
    return av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8), "rgb24").reformat(
        format="yuv420p"
    )


def moving(count, size=(96, 64)):
    """Frames of noise that drifts, which costs an encoder some bytes."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1] + count, size[0], 3), np.uint8)
    return [
        av.VideoFrame.from_ndarray(noise[n : n + size[1]].copy(), "rgb24").reformat(format="yuv420p")
        for n in range(count)
    ]


def flashing(seconds, rate=25, size=(96, 64)):
    """Frames of drifting noise that are white for the first frames of every second."""
    frames = moving(seconds * rate, size)
    return [grey(255, size) if n % rate < 0.08 * rate else frame for n, frame in enumerate(frames)]


def film(path, seconds=3, codec="libx264", sound="aac", start=0, rate=25, form=None, layout="stereo", sound_rate=48000):
    """A film whose sound beeps where its picture flashes; `start` is in seconds."""
    options = {"g": "50"} | ({} if codec == "wmv2" else {"bf": "2"}) | ({"threads": "1"} if codec == "libx264" else {})
    with av.open(str(path), "w", format=form) as out:
        picture = out.add_stream(codec, rate=rate, options=options)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        track = out.add_stream(sound, rate=sound_rate, layout=layout)
        if sound == "wmav2":  # has no bit rate of its own
            track.bit_rate = 128_000
        time = np.arange(48000 * seconds) / 48000
        wave = (0.8 * np.sin(2 * np.pi * 1000 * time) * (time % 1 < 0.08)).astype(np.float32)
        resampler = av.AudioResampler("s16", layout, sound_rate)
        for number, frame in enumerate(flashing(seconds, rate)):
            frame.pts, frame.time_base = number + round(start * rate), Fraction(1, rate)
            out.mux(picture.encode(frame))
            part = wave[number * 48000 // rate : (number + 1) * 48000 // rate]
            samples = av.AudioFrame.from_ndarray((32767 * part[None]).astype(np.int16), "s16", "mono")
            samples.pts, samples.sample_rate = number * 48000 // rate + round(start * 48000), 48000
            samples.time_base = Fraction(1, 48000)
            for ready in resampler.resample(samples):
                out.mux(track.encode(ready))
        out.mux(track.encode())
        out.mux(picture.encode())
    return path


def twin_of(packet, stream, data=None):
    """A packet for another stream with the stamps of this one, and with its bytes or others."""
    twin = av.Packet(bytes(packet) if data is None else data)
    twin.pts, twin.dts, twin.time_base, twin.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    twin.is_keyframe, twin.stream = packet.is_keyframe, stream
    return twin


def remuxed(source, out, options=None, earlier=0, with_sound=True):
    """The packets of a film in another file, with stamps that are `earlier` by so many seconds."""
    with av.open(str(source)) as whole, av.open(str(out), "w", options=options) as copy:
        kept = whole.streams if with_sound else whole.streams.video
        copies = {stream.index: copy.add_stream_from_template(stream) for stream in kept}
        for packet in whole.demux(list(kept)):
            if packet.size:
                packet.pts -= round(earlier / packet.time_base)
                packet.dts -= round(earlier / packet.time_base)
                packet.stream = copies[packet.stream.index]
                copy.mux(packet)
    return out


def flashes(path):  # -> seconds at which the picture turns white, as a player shows them
    found, white = [], False
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            bright = frame.to_ndarray(format="gray")[24:40, 8:24].mean() > 225
            if bright and not white:
                found.append(float(frame.pts * frame.time_base))
            white = bright
    return found


def beeps(path, track=0):  # -> seconds at which a beep begins
    found, quiet = [], 1.0
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono", 48000)
        for frame in container.decode(audio=track):
            for mono in resampler.resample(frame):
                for n, level in enumerate(np.abs(mono.to_ndarray()[0])):
                    quiet += 1 / 48000
                    if level > 0.2:
                        if quiet > 0.1:
                            found.append(float(mono.pts * mono.time_base) + n / 48000)
                        quiet = 0
    return found


def joined(path, *parts):
    """The bytes of some files, one behind the other."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
