"""What is minimised: losses, discriminators and the augmentation before them."""
