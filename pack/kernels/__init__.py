"""Loops over pixels compiled by numba, and filters that have them on a CPU and tensors elsewhere."""
