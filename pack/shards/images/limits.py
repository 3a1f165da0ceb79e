"""The largest size of an image of a record, because a hostile header could request any amount of memory."""

LARGEST_SIDE = 4096  # pixels; records are squares of 512 by default
