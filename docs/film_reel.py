"""Joins short pieces of three clips to a film whose scenes return, as dialogues do: a film on which tuning can gain.

    .venv/bin/python docs/film_reel.py Megamind.avi clips/bikes.mp4 clips/cityCC0.mpg reel.mkv

Megamind.avi is of Debian's package opencv-doc, the others of `make demo`; `base` saw none of them. A film needs many
shots to hold some out, and these clips have eleven between them. So each of their shots is cut into pieces of 16 to 24
frames, which take turns with those of the other clips. Needs the program ffmpeg.
"""

import subprocess
import sys
from itertools import chain, pairwise, zip_longest
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.video.shot_reader import read_shots

LENGTH = 16  # frames of a piece, at least: those of a record
SIZE = 480, 272  # pixels
FPS = 25


def pieces(film: Path) -> list[tuple[int, int]]:
    """First frame and number of frames of each piece of a film; those of one shot follow each other."""
    found, first = [], 0
    for shot in read_shots(film):
        frames = sum(1 for _ in shot)
        count = frames // LENGTH
        ends = [first + frames * number // count for number in range(count + 1)] if count else []
        found += [(start, end - start) for start, end in pairwise(ends)]
        first += frames
    return found


def main() -> None:
    *films, out = map(Path, sys.argv[1:])
    cut = [[(number, *piece) for piece in pieces(film)] for number, film in enumerate(films)]
    turns = [piece for piece in chain.from_iterable(zip_longest(*cut)) if piece]
    width, height = SIZE
    fit = f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height},setsar=1,fps={FPS}"
    graph = [
        f"[{film}:v]trim=start_frame={start}:end_frame={start + frames},setpts=N/{FPS}/TB,{fit}[p{number}]"
        for number, (film, start, frames) in enumerate(turns)
    ]
    names = "".join(f"[p{number}]" for number in range(len(turns)))
    graph.append(f"{names}concat=n={len(turns)}:v=1,format=yuv420p[out]")
    inputs = chain.from_iterable(("-i", str(film)) for film in films)
    how = "-c:v libx264 -preset medium -crf 12 -bitexact -threads 1".split()
    command = ["ffmpeg", "-v", "error", "-y", *inputs, "-filter_complex", ";".join(graph), "-map", "[out]", *how]
    subprocess.run([*command, str(out)], check=True)
    print(f"{out}: {len(turns)} pieces, {sum(frames for _, _, frames in turns)} frames")


if __name__ == "__main__":
    main()
