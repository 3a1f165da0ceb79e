"""The stream of samples: plan, sources, workers, crops, hard-example mining. `open_stream` is for other trainers."""

from train.data.library import Batch, SampleStream, open_stream

__all__ = ["Batch", "SampleStream", "open_stream"]
