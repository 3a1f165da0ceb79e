"""Writes stereo films: pictures in parts, which are joined with the tracks of the source."""
