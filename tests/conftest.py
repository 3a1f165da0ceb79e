"""What several test files share."""

import functools
import math
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # `auto` means the CPU here, so that a GPU changes no result

import numpy as np
import pytest
import torch

from pack.shards.store import _client
from tests.support import ROOT
from tests.support.media.films import Brightness, make_video
from tests.support.servers import s3
from tools.cli import Progress
from tools.clips import fetch_clips

# A shell's background job ignores Ctrl-C, and so would every program that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Every test draws and computes the same numbers, whatever ran before it: it passes always or never."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")  # on some processors programs leave another one behind


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch) -> None:
    """No program prints how far it is because the machine is slow: many tests say what else it prints."""
    monkeypatch.setattr(Progress, "__init__", functools.partialmethod(Progress.__init__, every=math.inf))


@pytest.fixture(scope="session")
def clips() -> Path:
    """Folder with the real clips bigbuckbunny.mp4, bikes.mp4 and cityCC0.mpg, fetched where they are missing."""
    folder = ROOT / "clips"
    fetch_clips(folder)
    return folder


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> Path:
    """Folder with three videos of one to three clips of 16 frames each."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(3):
        make_video(folder / f"film{number}.mp4", 64 - 20 * number, seed=number)
    return folder


@pytest.fixture
def film(films) -> Path:
    """A video of three clips."""
    return films / "film0.mp4"


@pytest.fixture(scope="session")
def short_films(tmp_path_factory) -> Path:
    """Folder with three videos of one clip each."""
    folder = tmp_path_factory.mktemp("shorts")
    for number in range(3):
        make_video(folder / f"short{number}.mp4", 18 + number, seed=number)
    return folder


@pytest.fixture
def contained(monkeypatch) -> Iterator[None]:
    """Packing in this process leaves pytest its signal handlers and PyTorch its threads."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick_depth(contained, monkeypatch) -> None:
    """Packing in this process takes brightness for nearness."""
    monkeypatch.setattr("pack.workers.load_depth", Brightness)


@pytest.fixture
def s3_server(tmp_path_factory) -> Iterator[tuple[Path, int]]:
    """A real S3 server: the folder of its only bucket, and its port."""
    root = tmp_path_factory.mktemp("s3") / "buckets"
    with s3.serve(root) as port:
        yield root / s3.BUCKET, port


@pytest.fixture
def store(s3_server, monkeypatch) -> Iterator[s3.Proxy]:
    """A proxy before that server, which this process and its children ask."""
    with s3.proxied(s3_server[1]) as proxy:
        environment = s3.environment(proxy.url)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        _client.cache_clear()
        yield proxy
        _client.cache_clear()
