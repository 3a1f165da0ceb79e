"""Stages of your own, which run in the data workers after a tile was decoded: see docs/training.md."""

from train.data.samples import Stage

STAGES: tuple[Stage, ...] = ()  # generators that take and yield samples, in their order
