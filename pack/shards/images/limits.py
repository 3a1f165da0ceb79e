"""How large an image of a record may be: hostile files say anything, and memory is taken by what they say."""

LARGEST_SIDE = 4096  # pixels; records are squares of 512 by default
