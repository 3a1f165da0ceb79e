"""The stream of samples: plan, sources, workers, crops, hard-example mining."""
