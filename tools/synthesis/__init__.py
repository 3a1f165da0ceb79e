"""Parts of tools/stereo.py: the second eye from frames and depth."""
