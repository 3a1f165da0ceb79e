"""A signal that is to end a program ends it, wherever it arrives."""

import signal
import subprocess
import sys

import pytest

from tests.support import ROOT

PROGRAM = """
import contextlib, os, signal, sys, time, weakref
from tools import cli
from tools.cli import signals

number = getattr(signal, sys.argv[2])

class Object:
    def __del__(self):
        os.kill(os.getpid(), number)

def lose(how):
    if how == "while an object is deleted":
        Object()
    elif how == "in a callback":
        kept = Object.__new__(type("Other", (), {}))
        also = weakref.ref(kept, lambda _: os.kill(os.getpid(), number))
        del kept
    elif how == "in a generator that is closed":
        def generate():
            try:
                yield
            finally:
                os.kill(os.getpid(), number)
        next(generate())
    elif how == "in two deletions":
        class Outer:
            def __del__(self):
                lose("while an object is deleted")
                time.sleep(600)
        Outer()
    elif how == "while processes are started":
        with signals.deferred():
            os.kill(os.getpid(), number)
            print("started")
    elif how == "while standard error is written":
        class Busy:
            def write(self, text):
                raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")
            flush = write
        signals.sys = type("", (), {"stderr": Busy(), "exit": sys.exit, "unraisablehook": None})
        os.kill(os.getpid(), number)

def main():
    signals.end_at_sigterm()
    with contextlib.ExitStack() as stack:
        stack.callback(print, "cleaned up")
        lose(sys.argv[1])
        if sys.argv[3] == "in the middle":
            time.sleep(600)
            print("went on")

cli.run(main)
"""


def run(how, number, when="in the middle"):
    words = [sys.executable, "-c", PROGRAM, how, signal.Signals(number).name, when]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "how",
    [
        "while an object is deleted",
        "in a callback",
        "in a generator that is closed",
        "in two deletions",
        "while processes are started",
    ],
)
def test_a_signal_ends_the_program_also(how, number):
    done = run(how, number)
    said, status = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}[number]
    assert (done.stderr, done.returncode) == (f"{said}\n", status)
    assert done.stdout == "started\n" * (how == "while processes are started") + "cleaned up\n"


def test_a_signal_that_is_lost_in_the_last_line_of_a_program_ends_it():
    assert run("while an object is deleted", signal.SIGTERM, "at its end").returncode == 143


def test_sigterm_ends_the_program_also_while_it_writes_to_standard_error():
    done = run("while standard error is written", signal.SIGTERM)
    assert (done.stdout, done.stderr, done.returncode) == ("cleaned up\n", "terminated\n", 143)


TWICE = """
import os, signal, time
from tools import cli
from tools.cli import signals

def main():
    signals.end_at_sigterm("ended")
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("cleaned up", flush=True)
        signals.SAME = 0
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached")

cli.run(main)
"""


def test_a_second_sigterm_at_once_does_not_disturb_the_end_and_a_later_one_hastens_it():
    done = subprocess.run([sys.executable, "-c", TWICE], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("cleaned up\n", "ended\n", 143)


WORKERS = """
import multiprocessing, os, signal, time
from tools import cli
from tools.cli import signals

def work(ready):
    ready.set()
    time.sleep(600)

def main():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=work, args=(ready,), daemon=True)
    try:
        with signals.starting_workers():
            worker.start()
        ready.wait()
        os.killpg(os.getpgrp(), signal.SIGINT)
        time.sleep(600)
    finally:
        print("alive:", worker.is_alive())

cli.run(main)
"""


def test_a_ctrl_c_reaches_the_main_process_and_not_its_workers():
    done = subprocess.run(
        [sys.executable, "-c", WORKERS], cwd=ROOT, capture_output=True, text=True, start_new_session=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("alive: True\n", "interrupted\n", 130)
