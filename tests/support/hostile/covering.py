"""Hostile inputs that atheris steers to code that no input has reached yet: `python covering.py READER INPUTS FOLDER`.

atheris (libFuzzer) has no package for every Python, so it is not among the packages of the tests: pip install atheris.
"""

import json
import sys
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import atheris

# what numba compiles must stay as it is
with atheris.instrument_imports(
    include=["pack.shards", "model", "train.checkpoints", "tools.cli"], exclude=["pack.shards.images.png_rows"]
):
    from tests.support.hostile import fuzzing, fuzzing_others, run

EXAMPLES = {
    "index": [json.dumps(fuzzing.INDEX).encode()],
    "json": [fuzzing.MEMBERS["json"]],
    "tar": [fuzzing.TAR],
    **{kind: fuzzing.IMAGES[kind] for kind in ("png", "webp", "jpeg", "mask")},
    "list": [b"# a\r\nk_1_0\n"],
    "checkpoint": [fuzzing_others.FILE],
    "yaml": [fuzzing_others.YAML],
    "toml": [fuzzing_others.TOML],
}


def main(name: str, inputs: str, place: str) -> None:
    """Give a reader this many inputs; the process ends with a status other than 0 where one breaks a rule."""
    folder, corpus = Path(place), Path(place) / f"{name} examples"
    corpus.mkdir(parents=True)
    for number, data in enumerate(EXAMPLES[name]):
        (corpus / str(number)).write_bytes(data)
    _, check = (fuzzing.readers(folder) | fuzzing_others.readers(folder))[name]
    for data in EXAMPLES[name]:
        check(data)  # neither what a reader imports, nor what it compiles, is an input's
    options = [f"-runs={inputs}", "-rss_limit_mb=4096", "-max_len=65536", f"-artifact_prefix={folder}/", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], run.in_time(check))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
