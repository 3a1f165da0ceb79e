"""What is minimised: losses, discriminators, the augmentation before them, and the network that learns."""
