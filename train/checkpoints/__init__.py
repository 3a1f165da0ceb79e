"""Checkpoints on disk: what they hold, how a run resumes from them."""
