"""Films, pictures, depth and scenes that tests make."""
