"""Parts of tools/transfer.py: uploads and downloads that can be interrupted."""
