"""Parts of tools/browse.py: the page that plays records and excludes bad ones."""
