"""Processes, signals, seeds, memory, compilation and logs of a run."""
