"""The largest size of an image of a record, because a hostile header could request any amount of memory or time."""

LARGEST_SIDE = 4096  # pixels; records are squares of 512 by default
MOST_SCANS = 100  # of a JPEG: encoders write up to 14, and each takes 7 ms of the largest image, in 30 bytes
