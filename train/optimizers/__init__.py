"""Optimizers, learning rates, averages of weights and precision."""
