"""What a decoded frame carries beside its pixels: side data, and how HDR becomes SDR."""
