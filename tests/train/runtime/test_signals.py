import os
import signal

import pytest

from train.runtime import signals as stop
from train.runtime.signals import SAME_CTRL_C, SIGNALS, Stop


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
