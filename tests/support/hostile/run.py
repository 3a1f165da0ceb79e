"""Give a reader hostile inputs, the same ones each time: `python tests/support/hostile/run.py READER INPUTS SEED`."""

import gc
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.support.hostile import fuzzing, fuzzing_others, fuzzing_tools

MEMORY = 200_000_000  # bytes that readers may take for any input
SECONDS = 1.0  # of CPU time for one input, which a busy machine does not lengthen; usual inputs take a thousandth
COPIES = 5  # of as many inputs hypothesis makes one, which takes ten times as long as to read it
OF_OBJECTS = {"resume", "state"}  # readers of no bytes or text, of which there are no damaged copies
ODD = b"\0\x1f \"'+,-./019:;<=>[\\]a{}\x7f\x80\xff"
CHECKS = list(HealthCheck)


def readers(folder):
    """By name, the inputs of every reader and what must hold for each."""
    return fuzzing.readers(folder) | fuzzing_others.readers(folder) | fuzzing_tools.readers(folder)


def fuzz(name, folder, examples, seed_number=0, copies=COPIES) -> int:
    """Give a reader this number of inputs, in a process of its own; return how many there were.

    There are fewer where it has fewer. Fails where a reader raises another error than its own or takes more than
    SECONDS of CPU time, or where the process grows by more than MEMORY.
    """
    inputs, check = readers(folder)[name]
    copies = 1 if name in OF_OBJECTS else copies
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.write(theirs, str(_fuzz(inputs, check, examples, seed_number, copies)).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(theirs)
    with open(ours) as reader:
        given_ = reader.read()
    again = f"python tests/support/hostile/run.py {name} {examples} {seed_number} {copies}"
    assert os.waitpid(pid, 0)[1] == 0, f"see the traceback above, and repeat it with: {again}"
    return int(given_)


def _fuzz(inputs, check, examples, seed_number, copies):
    gc.freeze()
    gc.collect()  # from now on garbage is collected as in a small process
    fuzzing.pixels(fuzzing.IMAGES["png"][0], fuzzing.BOX)  # compiled now: neither that, nor imports, are an input's
    give(inputs, check, 20, seed_number)
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = give(inputs, in_time(check), examples, seed_number, copies)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin) * 1024
    assert grown < MEMORY, f"reading took {grown / 1e6:.0f} MB"
    return count


def in_time(check):
    """The check, which fails where it takes more than SECONDS of CPU time."""

    def timed(data):
        began = time.process_time()
        check(data)
        taken = time.process_time() - began
        assert taken < SECONDS, f"one input took {taken:.1f} s of CPU time"

    return timed


def give(inputs, check, examples, seed_number, copies=1) -> int:
    """Check this number of inputs; of `copies`, hypothesis makes one and the others are damaged copies of it."""
    count = 0

    def each(data):
        nonlocal count
        for variant in variants(data, copies):
            count += 1
            try:
                check(variant)
            except BaseException as error:
                error.add_note(f"the input was {variant!r}")
                raise

    forget_modules()
    every = settings(max_examples=-(-examples // copies), deadline=None, database=None, suppress_health_check=CHECKS)
    every(seed(seed_number)(given(inputs)(each)))()
    return count


def forget_modules() -> None:
    """From now on hypothesis draws no constants of modules that happen to be loaded, only those that it brings."""
    constants = Constants()
    providers._get_local_constants = lambda: constants
    providers.CONSTANTS_CACHE.cache.clear()


def variants(data, copies):
    """The input and damaged copies of it, always the same ones."""
    yield data
    rng = random.Random(zlib.crc32(repr(data).encode(errors="replace")))
    for _ in range(copies - 1):
        yield _damaged(data, rng)


def _damaged(data, rng):
    if isinstance(data, tuple):
        place = rng.choice([n for n, part in enumerate(data) if isinstance(part, bytes)])
        return (*data[:place], _damaged(data[place], rng), *data[place + 1 :])
    for _ in range(rng.randint(1, 4)):
        at, start, length = rng.randint(0, len(data)), rng.randint(0, len(data)), rng.choice((1, 1, 2, 4, 40))
        there, elsewhere = data[at : at + length], data[start : start + length]
        new = rng.choice((there[:0], there + elsewhere, elsewhere, _changed(there, rng), _changed(there, rng)))
        data = data[:at] + new + data[at + length :]
    return data


def _changed(part, rng):  # one of its bits, or one of its bytes or characters
    if not part:
        return part
    at, odd = rng.randrange(len(part)), rng.choice(ODD)
    if isinstance(part, str):
        return part[:at] + rng.choice((chr(odd), chr(ord(part[at]) ^ 1), "\U0001f600")) + part[at + 1 :]
    return part[:at] + bytes([rng.choice((odd, part[at] ^ 1 << rng.randrange(8), rng.randrange(256)))]) + part[at + 1 :]


if __name__ == "__main__":
    reader, *numbers = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        print(f"{reader}: {fuzz(reader, Path(place), *map(int, numbers))} inputs, no error but the reader's own")
