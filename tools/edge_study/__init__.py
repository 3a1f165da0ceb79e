"""How well the strip at the edge of a frame is filled."""
