"""Films as the writer makes them."""

from fractions import Fraction

from pack.video.output.encoder import Encoding
from pack.video.output.join import join
from pack.video.output.parts import Parts
from pack.video.output.tracks import plan_tracks
from pack.video.reader import probe
from pack.video.shot_reader import read_shots

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
