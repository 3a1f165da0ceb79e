"""Rendered scenes: layers of real pictures at known depths, seen exactly by two eyes."""
