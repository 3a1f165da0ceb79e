"""How near simulated holes are to those in use."""
