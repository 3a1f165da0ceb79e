"""What tests do inside a training's process: kill it, stop it, take its files away, at a moment that they choose."""

import dataclasses
import functools
import importlib
import os
import resource
import signal
import sys
import threading
import time

from tests.support.small_discriminators import make_small


def wrap(path, make) -> None:
    """Replace the function at a dotted path by make(function)."""
    module, _, name = path.rpartition(".")
    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError:  # a class of a module
        parent, _, cls = module.rpartition(".")
        owner = getattr(importlib.import_module(parent), cls)
    setattr(owner, name, make(getattr(owner, name)))


def kill_inside(path, events) -> None:
    """SIGKILL after so many calls and returns of anything, C functions included, inside the function."""

    process = os.getpid()  # not a worker, which inherits the hook

    def hook(_frame, _event, _argument):
        nonlocal events
        events -= 1
        if not events and os.getpid() == process:
            os.kill(process, signal.SIGKILL)

    wrap(path, functools.partial(_profiled, hook))


def _profiled(hook, function):
    def profiled(*arguments, **options):
        sys.setprofile(hook)
        try:
            return function(*arguments, **options)
        finally:
            sys.setprofile(None)

    return profiled


def kill_after(path, seconds) -> None:
    """SIGKILL so many seconds after the function is called, whatever is being done then."""

    def kill():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    at(path, 1, lambda: threading.Thread(target=kill, daemon=True).start())


def signal_at(path, call, number) -> None:
    """Send this process and its workers a signal when the function is called for the `call`-th time."""
    at(path, call, lambda: os.killpg(os.getpgrp(), number))


def rename_at(path, call, file) -> None:
    """Rename a file to `gone` then, if no other process has done so."""
    at(path, call, lambda: os.path.exists(file) and os.rename(file, os.path.join(os.path.dirname(file), "gone")))


def limit_at(path, call, size) -> None:
    """Let no file grow beyond `size` from then on, as if the disk were full."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    at(path, call, limit)


def nan_at(path, calls) -> None:
    """Make what the function returns, tensors by name, NaN at these calls."""
    count = 0

    def make(function):
        def changed(*arguments, **options):
            nonlocal count
            count += 1
            result = function(*arguments, **options)
            return {name: value * float("nan") for name, value in result.items()} if count in calls else result

        return changed

    wrap(path, make)


def always(path, value) -> None:
    """Let the function return this and do nothing."""
    wrap(path, lambda function: lambda *arguments, **options: value)


def metrics_are(path, values) -> None:
    """Put these metrics into the results that the function returns, one after the other."""
    left = iter(values)

    def make(function):
        def told(*arguments, **options):
            result = function(*arguments, **options)
            return dataclasses.replace(result, metrics=result.metrics | next(left))

        return told

    wrap(path, make)


def at(path, call, act) -> None:
    """Act before the function is called for the `call`-th time."""

    def make(function):
        def counted(*arguments, **options):
            nonlocal call
            call -= 1
            if not call:
                act()
            return function(*arguments, **options)

        return counted

    wrap(path, make)


HOOKS = {
    "kill inside": kill_inside,
    "kill after": kill_after,
    "signal at": signal_at,
    "rename at": rename_at,
    "limit at": limit_at,
    "nan at": nan_at,
    "always": always,
    "metrics are": metrics_are,
    "small judges": make_small,
}
