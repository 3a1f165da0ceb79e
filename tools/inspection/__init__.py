"""Parts of tools/browse.py, peek.py and verify.py: the page of a split, pictures of records, checks of shards."""
