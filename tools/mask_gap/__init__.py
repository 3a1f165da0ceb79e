"""Whether a network was trained for the holes that a film opens."""
