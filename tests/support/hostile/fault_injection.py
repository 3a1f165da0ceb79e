"""Hooks that change a training process: kill it, signal it, let a call fail, at a chosen moment.

A test names hooks as `[NAME, ARGUMENT, ...]`, with the names of HOOKS; PATH is the dotted path of a function.
"""

import dataclasses
import functools
import importlib
import os
import resource
import signal
import sys
import threading
import time

from tests.support.training.small_discriminators import use_small_discriminators

PLANTED = "RuntimeError: a planted bug"  # the last line of the traceback of `raise at`


def wrap(path, make) -> None:
    """Replace the function at a dotted path with make(function)."""
    module, _, name = path.rpartition(".")
    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError:  # a class of a module
        parent, _, cls = module.rpartition(".")
        owner = getattr(importlib.import_module(parent), cls)
    setattr(owner, name, make(getattr(owner, name)))


def kill_inside(path, events) -> None:
    """SIGKILL inside the function, after this number of calls and returns, including those of C functions."""
    process = os.getpid()  # a worker inherits the hook and must not be killed

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
    """SIGKILL this many seconds after the first call of the function."""

    def kill():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    before_call(path, 1, lambda: threading.Thread(target=kill, daemon=True).start())


def signal_at(path, call, number) -> None:
    """Send a signal to this process and its workers at the `call`-th call of the function."""
    before_call(path, call, lambda: os.killpg(os.getpgrp(), number))


def rename_at(path, call, file) -> None:
    """Rename a file to `gone` at the `call`-th call, unless another process has done so."""
    before_call(
        path, call, lambda: os.path.exists(file) and os.rename(file, os.path.join(os.path.dirname(file), "gone"))
    )


def limit_files_at(path, call, size) -> None:
    """From the `call`-th call on, let no file grow beyond `size` bytes, as if the disk were full."""

    before_call(path, call, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))  # Python ignores SIGXFSZ


def give_up_at(path, call, file, seconds) -> None:
    """Before the `call`-th call wait until a file exists, and from then on for other processes this long at most."""

    def shorten():
        while not os.path.exists(file):
            time.sleep(0.02)
        from_here = []

        def make(ending):
            def hurried(watch, now):
                if not from_here:
                    from_here.append(now)
                    watch.since, watch.timeout, watch.patience = now, seconds, seconds / 3
                return ending(watch, now)

            return hurried

        wrap("train.runtime.watch.Watch._ending", make)

    before_call(path, call, shorten)


def raise_at(path, call) -> None:
    """Raise an exception that only a bug can cause, instead of the `call`-th call."""

    def fail():
        raise RuntimeError(PLANTED.partition(": ")[2])

    before_call(path, call, fail)


def return_nan_at(path, calls) -> None:
    """At these calls replace the returned tensors, a dict by name, with NaN."""
    count = 0

    def make(function):
        def changed(*arguments, **options):
            nonlocal count
            count += 1
            result = function(*arguments, **options)
            return {name: value * float("nan") for name, value in result.items()} if count in calls else result

        return changed

    wrap(path, make)


def always_return(path, value) -> None:
    """Replace the function with one that returns this value."""
    wrap(path, lambda function: lambda *arguments, **options: value)


def replace_metrics(path, values) -> None:
    """Replace metrics in the results that the function returns: `values` has a dict for each call."""
    remaining = iter(values)

    def make(function):
        def replaced(*arguments, **options):
            result = function(*arguments, **options)
            return dataclasses.replace(result, metrics=result.metrics | next(remaining))

        return replaced

    wrap(path, make)


def before_call(path, call, act) -> None:
    """Call `act` before the `call`-th call of the function."""

    def make(function):
        @functools.wraps(function)  # the watch names the function that waits
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
    "limit files at": limit_files_at,
    "give up at": give_up_at,
    "raise at": raise_at,
    "return nan at": return_nan_at,
    "always return": always_return,
    "replace metrics": replace_metrics,
    "small discriminators": use_small_discriminators,
}
