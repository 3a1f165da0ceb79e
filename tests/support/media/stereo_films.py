"""Films as the writer makes them."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pack.video.output.encoder import Encoding
from pack.video.output.join import join
from pack.video.output.parts import Parts
from pack.video.output.tracks import plan_tracks
from pack.video.reader import probe
from pack.video.shot_reader import read_shots
from tests.support import ROOT
from tests.support.media.videos import moving

H264 = Encoding()


def write_film(out, source, pictures, sound="auto", encoding=H264, every=10**6):
    """A film of the pictures (seconds, uint8 (H W 3)) in parts of `every` frames, with the tracks of `source`."""
    tracks = plan_tracks(source, out, sound)
    with Parts(out, {}, encoding, probe(source).fps) as parts:
        for seconds, picture in pictures:
            if parts.pending == every:
                parts.finish({})
            parts.write(Fraction(seconds), picture)
        parts.finish({}, complete=True)
        join(parts, source, tracks)
        parts.remove()
    return tracks


def copy_film(source, out, sound="auto", **options):
    """The film made anew of its own pictures; its planned tracks."""
    pictures = (timed for shot in read_shots(source) for timed in shot)
    return [str(track) for track in write_film(out, source, pictures, sound, **options)]


def pictures(count=20, size=(96, 64)):
    return [frame.to_ndarray(format="rgb24") for frame in moving(count, size)]


def clip_with_sound(path, times=None):
    """A film of 20 frames and a second of sound."""
    with av.open(str(path), "w") as out:
        sound, picture = out.add_stream("aac", rate=48000), out.add_stream("libx264", rate=20, options={"threads": "1"})
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(moving(20)):
            frame.pts, frame.time_base = (times or range(0, 1000, 50))[number], Fraction(1, 1000)
            out.mux(picture.encode(frame))
        wave = np.sin(np.arange(48000) / 20)[None].astype(np.float32).repeat(2, 0)
        for start in range(0, 48000, 1024):
            part = np.ascontiguousarray(wave[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(part, "fltp", "stereo")
            frame.pts, frame.sample_rate = start, 48000
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
        out.mux(picture.encode())
    return path


def packets(path, kind):
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


PEAK = """
import sys, torch
from pathlib import Path
from pack.holes.mappers import mapper
from pack.video.output.encoder import Encoding
from pack.video.output.join import join
from pack.video.output.parts import Parts
from pack.video.output.tracks import plan_tracks
from pack.video.reader import probe
from pack.video.shot_reader import read_shots
from tests.support.media.films import Brightness
from tools.evaluation.baselines import BASELINES
from tools.synthesis.conversion import Converter
from tools.synthesis.views import Geometry
torch.set_num_threads(1)
source, out = map(Path, sys.argv[1:])
made = Converter(Brightness(), [BASELINES["empty"]], Geometry(2.5, 0.5, mapper("none")), lambda _, rights: rights[0],
                 torch.device("cpu"))
with torch.inference_mode(), Parts(out, {}, Encoding(), probe(source).fps) as parts:
    made.convert(parts, read_shots(source), 0, lambda _: None)
    join(parts, source, plan_tracks(source, out))
    parts.remove()
status = Path("/proc/self/status").read_text()  # getrusage would count what the parent held when it forked
print(len(parts.ticks), int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def peak_of_conversion(source: Path, out: Path) -> tuple[int, float]:
    """Frames of a film that a process of its own converts, and the MiB that it took at most."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", PEAK, str(source), str(out)]
    frames, peak = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return int(frames), float(peak)
