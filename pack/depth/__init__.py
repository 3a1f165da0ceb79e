"""Nearness of every pixel: depth models of transformers, and an estimator of our own that needs no download."""
