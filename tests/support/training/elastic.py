"""The long check of a torchrun job whose machines leave and come back."""

import subprocess
import sys
import time
from collections import Counter

from tests.support import ROOT
from tests.support.shards import make_data
from tests.support.training import nodes, trainings


def elastic(folder):
    """Machines of a torchrun job leave and come back; it ends like an undisturbed run of one process."""
    data = make_data(folder / "data", records=12, evaluation=3, size=80)
    more = "--num-samples 480 --backward-step 4 --max-epoch 7 --save-every-steps 5 --timeout 1 --skip-eval".split()
    more += ["--resume"]
    expected = undisturbed(folder / "one", trainings.command(data, folder / "one" / "model", *more))
    isolated = nodes.has_namespaces()
    print(f"machines are {'network namespaces' if isolated else 'processes on loopback'}", flush=True)
    flags = trainings.command(data, folder / "job" / "model", *more)
    with nodes.Job(folder / "job", 4, flags, isolated) as job:
        for node in (1, 2, 3, 4):
            job.start(node)
        change(job, "4 machines start", 4)
        change(job, "machine 1 (rank 0) is lost", 3, lambda: job.kill(1))
        change(job, "machine 3 is lost", 2, lambda: job.kill(3))
        change(job, "machine 1 comes back", 3, lambda: job.start(1))
        change(job, "machine 3 comes back", 4, lambda: job.start(3))
        if isolated:
            change(job, "the cable of machine 2 is pulled", 3, lambda: job.network.cable(2, False))
            job.kill(2)
            job.network.cable(2, True)
            change(job, "machine 2 comes back", 4, lambda: job.start(2))
        change(job, "machine 4 is asked to stop", 3, lambda: job.drain(4))
        assert job.end() == [0, 0, 0]
        done = nodes.steps(folder / "job")
    compare(done, expected)
    weights, wanted = (trainings.checkpoint(folder / name / "model")["state_dict"] for name in ("job", "one"))
    off = max(float((weights[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted)
    print(f"weights differ by {off:.1e} of their norm", flush=True)


def undisturbed(folder, flags):
    """The steps of a run of one process."""
    folder.mkdir()
    (folder / "limit").write_text(str(10**9))
    subprocess.run([sys.executable, nodes.__file__, folder, *flags], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return nodes.kept(nodes.steps(folder))


def change(job, what, processes, act=lambda: None):
    """Let machines leave or come, and the training go on for seven steps; what it cost."""
    before, began = nodes.steps(job.folder), time.monotonic()
    last = before[-1]["step"] if before else 0
    act()
    if before and before[-1]["world"] < processes:  # torchrun stops the training, which waits
        job.wait_for(processes, last + 1)
    job.run_to(last + 7)
    done = job.wait_for(processes, last + 7)
    again = [one["step"] for one in done[len(before) :] if one["step"] <= last]
    print(f"{what}: {processes} go on after {time.monotonic() - began:.0f} s, {len(again)} steps again", flush=True)


def compare(done, expected):
    """Every step that was kept has the sequences of the undisturbed run, once each, and their losses."""
    kept, worst, sequences = nodes.kept(done), 0.0, 0
    assert kept.keys() == expected.keys()
    for number, one in kept.items():
        pairs = list(zip(one["slots"], expected[number]["slots"], strict=True))
        assert all(found[:4] == wanted[:4] for found, wanted in pairs), (number, pairs)
        worst = max(worst, *(abs(found[4] / wanted[4] - 1) for found, wanted in pairs))
        sequences += len(pairs)
    assert worst < 1e-5, worst
    print(
        f"{len(kept)} steps of {sequences} sequences, none lost or doubled, {len(done) - len(kept)} steps done again; "
        f"losses differ by {worst:.1e} at most; steps by processes: {Counter(one['world'] for one in kept.values())}",
        flush=True,
    )
