"""One command for one film: depth, records, fine-tuning, certificate, stereo film."""
