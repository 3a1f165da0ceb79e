"""A sweep trains what is missing, can be stopped, and compares all networks."""

import json
import signal
import subprocess
import sys

import pytest

from tests.support.programs import refused
from tests.support.shards import make_data
from tools.sweep.__main__ import ROOT, main

FLAGS = """
loss = "temporal_l1"
tile = 64
num-samples = 24
backward-step = 2
max-epoch = 2
learning-rate-cycles = 1
eval-step = 1
num-workers = 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    make_data(folder / "data")
    return folder


def write_sweep(folder, learning_rates):
    text = f'out = "{folder}/out"\n[evaluate]\ndata = "{folder}/data/eval"\ntile = 128\nbaselines = ["replicate"]\n'
    text += f'[flags]\ndata-dir = "{folder}/data"\n{FLAGS}'
    path = folder / "sweep.toml"
    path.write_text(f"{text}[grid]\nlearning-rate = {learning_rates}\n")
    return path


def start(*words):
    words = [sys.executable, ROOT / "tools" / "sweep", *words]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_sweep_trains_what_is_missing_and_compares_the_networks(folder):
    path = write_sweep(folder, [1e-4, 3e-4])
    first = start("--sweep", path, "--run", 0)
    text, _ = first.communicate(timeout=480)
    assert first.returncode == 0 and "learning-rate=0.0001: training" in text, text
    assert not (folder / "out" / "evaluation").exists()

    stopped = start("--sweep", path)
    line = ""
    while "learning-rate=0.0003: training" not in line:
        line = stopped.stdout.readline()
        assert line, "the sweep ended early"
    stopped.send_signal(signal.SIGTERM)
    text, _ = stopped.communicate(timeout=480)
    assert "stopped: the same command continues" in text and stopped.returncode == 0, text

    whole = start("--sweep", path)
    text, _ = whole.communicate(timeout=480)
    assert whole.returncode == 0 and "learning-rate=0.0001: done before" in text, text
    metrics = json.loads((folder / "out" / "evaluation" / "metrics.json").read_text())
    assert all(f"learning-rate={rate}" in json.dumps(metrics) for rate in ("0.0001", "0.0003"))

    config = folder / "out" / "learning-rate=0.0001.toml"
    config.write_text(config.read_text().replace("tile = 64", "tile = 72"))
    assert "tile is 64, was 72" in refused(main, "--sweep", path)
