"""Object stores, web servers and browsers that tests start."""
