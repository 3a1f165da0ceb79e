"""What the processes that pack videos say to each other; what they pack is in test_pack_kill.py."""

import multiprocessing
import os
import signal

import pytest

from pack.packing import Outcome
from pack.workers import ClipDone, VideoDone, distribute
from tools.cli import UserError


def killed_before_it_begins(_):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_the_middle_of_a_message(main):
    main.recv()
    os.write(main.fileno(), b"\0\0\0\7half")
    os.kill(os.getpid(), signal.SIGKILL)


def diligent(main):
    for task in iter(main.recv, None):
        main.send(ClipDone(task))
        main.send(VideoDone(Outcome(task)))


@pytest.fixture
def start():
    """Starts processes that run these functions, by their connections."""
    started = {}

    def start(*functions):
        for function in functions:
            ours, theirs = multiprocessing.Pipe()
            started[ours] = multiprocessing.get_context("fork").Process(target=function, args=(theirs,), daemon=True)
            started[ours].start()
            theirs.close()
        return started

    yield start
    for process in started.values():
        process.kill()
        process.join()


def test_every_video_is_given_to_one_worker(start):
    clips = []
    found = distribute("abcdefg", start(diligent, diligent, diligent), clips.append)
    assert sorted(outcome.video for outcome in found) == [*"abcdefg"] == sorted(clips)


def test_a_worker_that_is_killed_in_the_middle_of_a_message_does_not_hold_up_the_others(start):
    found = []
    with pytest.raises(UserError, match="ended with status -9"):
        for outcome in distribute("abc", start(killed_in_the_middle_of_a_message, diligent), print):
            found.append(outcome.video)
    assert found == ["b", "c"]


def test_what_a_worker_that_was_killed_before_cannot_take_others_do(start):
    workers = start(killed_before_it_begins, diligent)
    next(iter(workers.values())).join()
    assert [outcome.video for outcome in distribute("abc", workers, print)] == ["b", "c", "a"]
