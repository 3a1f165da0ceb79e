"""How near a made eye is to the true one, on rendered scenes: the parts of `make evaluate-stereo`."""
