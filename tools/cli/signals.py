"""Signals that end a program: what their handlers raise is not lost, and does not come while a process is started.

Python ignores an exception that is raised while it deletes an object, or inside a callback of a library. It may be that
of a signal's handler, and the program would go on as if the signal had not come. Here it is raised again behind that.
"""

import _thread
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

SAME = 2.0  # seconds within which signals have one cause: a scheduler and a launcher may both send one

MARK = "handled_signal"  # attribute of an exception: the number of the signal whose handler raised it
LOST: dict[int, BaseException] = {}  # by number of the signal: what Python ignored
WAITING: set[int] = set()  # numbers of signals that came where they cannot be handled
DEFERRING: list[None] = []  # one for each open block of `deferred`, which may be inside one another
if hasattr(os, "register_at_fork"):  # not on Windows, where every program ends with one line
    os.register_at_fork(after_in_child=DEFERRING.clear)


def handle(number: int, act: Callable[[int], object]) -> None:
    """Call `act` with the number of the signal when it comes. Inside `none_lost`, what it raises is not lost."""

    def handler(number: int, frame: FrameType | None) -> None:
        if is_within(frame, send_again):  # what is raised there is ignored, too
            WAITING.add(number)
            _thread.start_new_thread(send_later, (number,))
        elif DEFERRING:
            WAITING.add(number)
        elif error := LOST.pop(number, None):
            raise error
        else:
            WAITING.discard(number)
            try:
                act(number)
            except BaseException as error:
                setattr(error, MARK, number)
                raise

    signal.signal(number, handler)


def send_again(report: Callable[["sys.UnraisableHookArgs"], object], ignored: "sys.UnraisableHookArgs") -> None:
    """Send the signal again whose handler raised what Python ignores; anything else is reported."""
    number = getattr(ignored.exc_value, MARK, None)
    if number is None:
        report(ignored)
    else:
        LOST[number] = ignored.exc_value
        _thread.start_new_thread(send_later, (number,))


def send_later(number: int) -> None:
    """Send the signal to the main thread when that is out of `send_again`, also where it waits for something."""
    main = threading.main_thread().ident or 0
    while is_within(sys._current_frames().get(main), send_again):
        time.sleep(0.001)
    if number in LOST or number in WAITING:
        signal.pthread_kill(main, number)


def is_within(frame: FrameType | None, function: Callable[..., object]) -> bool:
    """Whether the function is running, in this frame or in one that called it."""
    while frame and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def none_lost() -> Iterator[None]:
    """Inside the block exceptions of handlers that Python ignores are raised again; Ctrl-C is handled so, too."""
    report, before = sys.unraisablehook, signal.getsignal(signal.SIGINT)
    sys.unraisablehook = functools.partial(send_again, report)  # no frame of ours around it
    is_ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if is_ours:  # not in a shell's background job, which ignores Ctrl-C
        handle(signal.SIGINT, interrupt)
    ours = signal.getsignal(signal.SIGINT)
    try:
        yield
        if LOST:  # and not sent again before the program came to its end
            raise LOST.popitem()[1]
    finally:
        if is_ours and signal.getsignal(signal.SIGINT) is ours:
            signal.signal(signal.SIGINT, before)
        sys.unraisablehook = report


def interrupt(_number: int) -> None:
    raise KeyboardInterrupt


def end_at_sigterm(words: str = "terminated") -> None:
    """At SIGTERM print these words and leave as on Ctrl-C, with status 143: what was half written is removed.

    A second one within SAME seconds does not disturb that.
    """
    since = None

    def end(_number: int) -> None:
        nonlocal since
        now = time.monotonic()
        if since is not None and now - since < SAME:
            return
        if since is None:
            say(words)
        since = now
        sys.exit(143)

    handle(signal.SIGTERM, end)


def say(words: str) -> None:
    """Print a line on stderr, also while another one is being printed there."""
    try:
        print(words, file=sys.stderr, flush=True)
    except (OSError, RuntimeError):  # RuntimeError: the signal came in the middle of a write to it
        with contextlib.suppress(OSError):
            os.write(2, f"{words}\n".encode())


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside the block signals of `handle` wait for its end, as no process must be started and then be unknown."""
    DEFERRING.append(None)
    try:
        yield
    finally:
        DEFERRING.pop()
        while WAITING and not DEFERRING:
            _thread.interrupt_main(signal.Signals(WAITING.pop()))


@contextlib.contextmanager
def starting_workers() -> Iterator[None]:
    """As `deferred`; processes that are started inside the block never get Ctrl-C, as this one ends them.

    A terminal sends it to all. A worker that ignored it by itself would be late: importing takes seconds.
    """
    with deferred():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
