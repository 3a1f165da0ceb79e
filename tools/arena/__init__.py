"""Networks of one family beside each other, on ordinary splits and on rendered truth: the parts of `make arena`."""
