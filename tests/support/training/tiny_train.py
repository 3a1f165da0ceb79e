"""train/main.py with a network of 16 channels, so that tests can run whole trainings in seconds."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])

import torch

from model.light_video_inpaint import LightVideoInpaint
from tools import cli
from train import build as setup
from train import main


def create_tiny(name, init="copy", generator=None):
    return LightVideoInpaint(base_dim=16, init=init, generator=generator)


if __name__ == "__main__":
    torch.set_num_threads(1)
    setup.create_network = create_tiny
    cli.run(main.main)
