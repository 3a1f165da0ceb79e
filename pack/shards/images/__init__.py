"""Encoders and decoders of the frames and masks of a record; decoders can stop at a tile."""
