"""Everything that touches PyAV: frames, time stamps and cuts of a video in, a stereo video out."""
