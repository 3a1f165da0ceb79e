"""A run of one process inside the test's own, for tests of single steps and of the ends of epochs."""

from contextlib import contextmanager

import torch

from tests.support.training import trainings
from tools import cli
from train import build
from train.config import Config
from train.runtime.dist import Group


@contextmanager
def run_here(data, folder, monkeypatch, *flags):
    """A run of a tiny network with these flags, about to take its first step; its curves are closed at the end."""
    monkeypatch.setattr(build, "create_network", trainings.create_tiny)
    config = cli.parse(Config, trainings.command(data, folder, *flags))
    run = build.build(config, Group(0, 1, torch.device("cpu")), trainings.NoStop())
    yield run
    run.curves.close()
