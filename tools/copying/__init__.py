"""Parts of tools/transfer.py and folders.py: resumable copies of shards, and iw3's record folders."""
