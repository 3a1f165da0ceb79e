"""What the bytes of packets say that FFmpeg's decoders do not pass on."""
