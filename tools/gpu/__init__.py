"""What one GPU computes, how fast, and what it learns in minutes: `make gpu`."""
