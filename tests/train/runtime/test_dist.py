import subprocess
import sys
import threading
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from model.device import choose_device
from tests.support import ROOT
from tools.cli import UserError
from train.runtime import dist as module
from train.runtime.dist import Group, unused_part

LONG = timedelta(seconds=480)


def start(store, world, late=()):
    """What each rank of a job finds in the store that it shares with earlier starts; `late` ranks come last."""
    parts = {}

    def join(rank):
        parts[rank] = unused_part(store, rank, world, LONG)

    threads = {rank: threading.Thread(target=join, args=(rank,)) for rank in range(world)}
    for rank in sorted(threads, key=lambda rank: rank in late):
        threads[rank].start()
    for thread in threads.values():
        thread.join()
    assert len(parts) == world
    return parts


@pytest.mark.parametrize("late", [(), (0,), (1, 2)])
def test_every_start_of_a_job_has_a_part_of_the_store_for_itself(late):
    store = dist.HashStore()
    store.set("ask/2", "a word of a process that died before it was told")
    for turn in range(3):
        parts = start(store, 3, late)
        assert not parts[1].check(["address"])
        parts[0].set("address", str(turn))
        assert [parts[rank].get("address") for rank in range(3)] == [str(turn).encode()] * 3


def test_a_job_may_start_again_with_fewer_processes():
    store = dist.HashStore()
    for world in (4, 2, 1, 3):
        assert not start(store, world)[world - 1].check(["address"])


def test_processes_that_do_not_start_are_named_after_the_timeout(monkeypatch):
    store = dist.HashStore()
    starting = threading.Thread(target=unused_part, args=(store, 1, 4, LONG))
    starting.start()
    asked = []  # for the time since rank 1 has joined: at the second time, rank 0 has seen that

    def monotonic():
        asked.extend([0.0] if store.check(["joined/1/1"]) else [])
        return 2.0 if len(asked) > 1 else 0.0

    monkeypatch.setattr(module.time, "monotonic", monotonic)
    with pytest.raises(UserError, match=r"waited 1s for ranks 2, 3 to start: .*--timeout"):
        unused_part(store, 0, 4, timedelta(seconds=1))
    starting.join()


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError(2, "No such file", "x"), OSError("full")])
def test_a_mistake_that_the_first_process_meets_is_raised(error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        Group(0, 1, torch.device("cpu")).first(fail)


def test_what_the_first_process_does_is_returned():
    assert Group(0, 1, torch.device("cpu")).first(lambda a, b: a + b, 1, 2) == 3


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: found 0 GPUs"):
        choose_device("cuda")
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.slow
def test_a_process_of_a_job_ends_well_though_the_interpreter_could_not():
    code = """if True:
        import atexit, os, threading, time
        from train.runtime.dist import end_of_job
        class Held:
            def __del__(self):
                os.abort()
        held = Held()
        atexit.register(lambda: print("handler"))
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
        print("main")
        """
    for ending, status, said in (("end_of_job(3)", 3, "main thread handler"), ("", -6, "")):
        done = subprocess.run([sys.executable, "-c", code + ending], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert said in " ".join(done.stdout.split())
