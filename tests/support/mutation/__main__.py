"""`python -m tests.support.mutation [--every N] [MODULE ...]`: which small changes of the code do tests not notice?

Every mutant of a module meets the tests that should know. It is killed when one of them fails, crashes or takes far
more time than before. Survivors are printed, and a table at the end. What EQUIVALENT lists is not a survivor. With
`--every 4` a quarter of the mutants is tested.
"""

import contextlib
import gc
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from types import CodeType, FunctionType

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # forked processes have no threads of their parent
    os.environ[threads] = "1"

import numpy  # noqa: F401 # what takes long to import is imported once, before the forks
import pytest
import torch  # noqa: F401

from tests.support import ROOT
from tests.support.mutation.operators import Mutant, mutants
from tests.support.mutation.targets import EQUIVALENT, TARGETS

CPU_SECONDS, CPU_FACTOR = 20, 4  # more than the factor times what the original takes, plus these, is an endless loop
WALL_SECONDS = 400  # for processes that wait for ever
MEMORY = 12 << 30  # bytes of address space


def main(modules: list[str], every: int = 1) -> None:
    """Print the survivors of each module and the table."""
    gc.freeze()
    equivalent = tomllib.loads(EQUIVALENT.read_text())
    counts = {}
    for module in modules or TARGETS:
        began = time.monotonic()
        counts[module] = count = Counter()
        for mutant, killed in run(module, mutants((ROOT / module).read_text())[::every]):
            known = mutant.change in equivalent.get(module, {})
            count["killed" if killed else "equivalent" if known else "survivors"] += 1
            if known == killed:
                what = "listed as equivalent, but killed" if killed else "survived"
                print(f"{module}:{mutant.line}: {what}: {mutant.change}", flush=True)
        print(f"{module}: {dict(count)} in {time.monotonic() - began:.0f} s", flush=True)
    print("\n| module | mutants | killed | equivalent | survivors | of those that differ |\n|---|---|---|---|---|---|")
    for module, count in counts.items():
        share = count["survivors"] / max(count["survivors"] + count["killed"], 1)
        row = [f"`{module}`", count.total(), count["killed"], count["equivalent"], count["survivors"], f"{share:.1%}"]
        print(f"| {' | '.join(map(str, row))} |")


def run(module: str, found: list[Mutant]):
    """Yield each mutant and whether a test noticed it; those of function bodies meet tests imported before."""
    target = TARGETS[module]
    arguments = [*target.tests.split(), "-xqm", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    arguments += ["-p", "no:unraisableexception"]  # it collects garbage for a second
    if target.select:
        arguments += ["-k", target.select]
    with _pipe() as (reader, writer):
        if not (pid := os.fork()):
            reader.close()
            _warm(target, ROOT / module, arguments, found, writer)
        writer.close()
        limit = json.loads(reader.readline() or "null")
        if limit is None:
            raise SystemExit(f"{module}: its tests fail without any change: run pytest {' '.join(arguments)}")
        outside = []
        for mutant, line in zip(found, reader, strict=True):
            killed = json.loads(line)
            if killed is None:
                outside.append(mutant)
            else:
                yield mutant, killed
        os.waitpid(pid, 0)
    for mutant in outside:
        yield mutant, _fails(lambda mutant=mutant: _tested_anew(target, module, mutant, arguments), limit)[0]


class Killers:
    """The tests that killed the last mutants, which are the likeliest to kill the next; they run first."""

    def __init__(self):
        self.names: list[str] = []
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            os.write(self.writer, report.nodeid.encode())

    def update(self) -> None:
        with contextlib.suppress(BlockingIOError):
            name = os.read(self.reader, 4096).decode()
            self.names = [name, *(other for other in self.names if other != name)][:3]


@contextlib.contextmanager
def _pipe():
    reader, writer = os.pipe()
    with open(reader) as ours, open(writer, "w") as theirs:
        yield ours, theirs


def _warm(target, path, arguments, found, writer):  # in a process of its own
    _prepare(target)
    _quiet()
    pytest.main([*arguments, "--collect-only"])
    if target.kernels == "ready":
        failed, seconds = pytest.main(arguments) != 0, time.process_time()
    else:
        failed, seconds = _fails(lambda: pytest.main(arguments), None)
    limit = None if failed else CPU_SECONDS + CPU_FACTOR * seconds
    print(json.dumps(limit), file=writer, flush=True)
    ours = [f for f in gc.get_objects() if type(f) is FunctionType and f.__code__.co_filename == str(path)]
    gc.freeze()  # so that no collection in a forked process copies the memory that it shares with this one
    killers = Killers()
    for mutant in found if limit else ():
        changes = _code_changes(ours, path, mutant)
        killed = _fails(lambda changes=changes: _tested(changes, arguments, killers), limit)[0] if changes else None
        print(json.dumps(killed), file=writer, flush=True)
        killers.update()
    writer.close()
    os._exit(0)


def _code_changes(ours, path, mutant) -> list[tuple[FunctionType, CodeType]]:
    """The functions of this process that a mutant changes, with their new code; none if they must be made anew."""
    if not mutant.function:
        return []
    code = next(c for c in _codes(compile(mutant.tree(), str(path), "exec")) if c.co_qualname == mutant.function)
    functions = [f for f in ours if f.__code__.co_qualname == code.co_qualname]
    return [(f, code) for f in functions] if all(_fits(f, code) for f in functions) else []


def _codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _fits(function, code):
    return function.__code__.co_freevars == code.co_freevars


def _tested(changes, arguments, killers):
    for function, code in changes:
        function.__code__ = code
    options = arguments[next(i for i, word in enumerate(arguments) if word.startswith("-")) :]
    first = killers.names and pytest.main([*killers.names, *options], plugins=[killers])
    return first == 1 or pytest.main(arguments, plugins=[killers])


def _tested_anew(target, module, mutant, arguments):
    """Run the tests in a process that imports the changed module."""
    _prepare(target)
    name = module.removesuffix(".py").replace("/", ".")

    class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, wanted, _path, _target=None):
            origin = str(ROOT / module)
            return importlib.util.spec_from_file_location(name, origin, loader=self) if wanted == name else None

        def exec_module(self, loaded):
            exec(compile(mutant.tree(), str(ROOT / module), "exec"), loaded.__dict__)

    sys.meta_path.insert(0, Changed())
    return pytest.main(arguments)


def _prepare(target):
    os.chdir(ROOT)
    os.environ["NUMBA_DISABLE_JIT"] = str(int(target.kernels == "Python"))


def _quiet():
    with open(os.devnull, "r+b") as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)


def _fails(test, cpu_seconds) -> tuple[bool, float]:
    """Whether pytest, run by `test` in a forked process, ends with anything but success, and its seconds on a CPU."""
    if not (pid := os.fork()):
        os.setsid()
        signal.alarm(WALL_SECONDS)
        if cpu_seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 2))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        _quiet()
        status = 1
        with contextlib.suppress(BaseException):
            status = int(test())
        os._exit(status)
    _, status, used = os.wait4(pid, 0)
    with contextlib.suppress(ProcessLookupError):  # what its tests left running
        os.killpg(pid, signal.SIGKILL)
    return status != 0, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    words = sys.argv[1:]
    step = int(words[1]) if words[:1] == ["--every"] else 1
    main(words[2:] if words[:1] == ["--every"] else words, step)
