"""What a network was made of, from its file."""
