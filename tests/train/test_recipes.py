"""The batch scripts run as they are, on a stand-in for Slurm: two nodes are two torchruns on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.servers import ports
from tests.support.shards import make_data

pytestmark = pytest.mark.slow

SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys
nodes = [
    subprocess.Popen(sys.argv[1:], start_new_session=True, env=os.environ | {{"SLURM_NODEID": str(node)}})
    for node in range(int(os.environ["SLURM_JOB_NUM_NODES"]))
]
signal.signal(signal.SIGUSR1, lambda *_: [node.send_signal(signal.SIGUSR1) for node in nodes])
sys.exit(max(abs(node.wait()) for node in nodes))
"""
SCONTROL = '#!/bin/bash\necho "$@" >> "$REQUEUED"\n'

TINY_TRAIN = "tests/support/training/tiny_train.py"  # a network that two cores can train


def make_slurm(folder):
    """Stand-ins for srun, which passes signals on to the tasks alone as Slurm does, and scontrol."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    for name in ("train.slurm", "node.sh"):
        text = (ROOT / "tools/recipes" / name).read_text()
        text = text.replace("tools/recipes/node.sh", str(folder / "node.sh"))
        text = text.replace("train/main.py", TINY_TRAIN)
        text = text.replace(".venv/bin/torchrun", str(Path(sys.executable).parent / "torchrun"))
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def submit(folder, log, port):
    slurm = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "REQUEUED": str(folder / "requeued"),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_JOB_ID": "7",
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "BACKFILL_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    flags = f"-i {folder}/data --model-dir {folder}/model --loss temporal_l1 --optimizer adamw_schedulefree --tile 64"
    flags += " --max-epoch 10000 --num-samples 48 --backward-step 2 --eval-step 1 --num-workers 0 --seed 1"
    command = ["bash", str(folder / "train.slurm"), *flags.split()]
    return subprocess.Popen(command, env=os.environ | slurm, cwd=ROOT, stdout=log, stderr=log)


def train_until_time_is_up(folder, text):
    """Submit, wait for the text, and do what Slurm does before a time limit; what was printed."""
    log = folder / "log"
    with open(log, "w") as out, ports.reserved() as port:
        job = submit(folder, out, port)
        end = time.monotonic() + 480
        while text not in log.read_text():
            assert job.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(480) == 0, log.read_text()
    return log.read_text()


def test_a_training_on_two_nodes_stops_before_its_time_limit_queues_again_and_goes_on(tmp_path):
    make_slurm(tmp_path)
    make_data(tmp_path / "data")
    first = train_until_time_is_up(tmp_path, "epoch 1/10000: ")
    assert "2 x cpu" in first and "stopped by SIGUSR1" in first
    second = train_until_time_is_up(tmp_path, "resumed in epoch")
    assert "stopped by SIGUSR1" in second
    assert (tmp_path / "requeued").read_text() == "requeue 7\nrequeue 7\n"
