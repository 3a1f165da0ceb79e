"""Parts of make truth: rendered scenes become records, with the true other eye inside their holes."""
