"""The processes, signals, seeds, memory and logs of a run."""
