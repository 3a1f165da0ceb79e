import contextlib
import itertools
import os
import signal
import time
from types import SimpleNamespace

import pytest

from train.runtime import signals as stop
from train.runtime.signals import SAME_CTRL_C, SIGNALS, Stop, Unanswered
from train.step import step


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the module believes, and its handlers only as long as the test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    now = [100.0]
    monkeypatch.setattr(stop.time, "monotonic", lambda: now[0])
    yield now
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_is_remembered_by_its_name(number, clock):
    asked = Stop()
    assert asked.name == ""
    os.kill(os.getpid(), number)
    assert asked.name == signal.Signals(number).name


def test_the_first_signal_is_the_reason(clock):
    asked = Stop()
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        os.kill(os.getpid(), number)
    assert asked.name == "SIGUSR1"


def test_a_ctrl_c_that_comes_twice_at_once_from_terminal_and_torchrun_is_one(clock):
    asked = Stop()
    os.kill(os.getpid(), signal.SIGINT)
    clock[0] += SAME_CTRL_C / 2
    os.kill(os.getpid(), signal.SIGINT)
    assert asked.name == "SIGINT"


def test_a_second_ctrl_c_ends_at_once(clock):
    Stop()
    os.kill(os.getpid(), signal.SIGINT)
    clock[0] += SAME_CTRL_C * 2
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_signal_ends_a_wait_for_what_never_comes(clock, monkeypatch, moment):
    monkeypatch.setattr(stop, "PATIENCE", 0.01)
    asked = Stop()

    def endless():
        if moment == "during":
            os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(0.01)
        yield

    if moment == "before":
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Unanswered, match=r"stopped by SIGTERM while waiting for a worker, which does not answer"):
        next(asked.bounded(endless(), "a worker"))


def test_a_signal_ends_no_wait_that_is_over(clock):
    asked = Stop()
    items = asked.bounded(itertools.count(), "a worker")
    assert next(items) == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert next(items) == 1 and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert [*asked.bounded("ab", "a worker")] == ["a", "b"] and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_training_alone_stops_with_a_checkpoint_when_no_sample_comes(world_size):
    def unanswered():
        raise Unanswered("a worker")
        yield

    passes, group = SimpleNamespace(sizes=(1,), fewest=1), SimpleNamespace(world_size=world_size)
    learner = SimpleNamespace(optimizer=SimpleNamespace(zero_grad=lambda: None), gan=None)
    run = SimpleNamespace(job=SimpleNamespace(passes=passes, group=group, is_stopping=lambda: False), learner=learner)
    with contextlib.nullcontext() if world_size == 1 else pytest.raises(Unanswered):
        assert step(run, unanswered()) is None
