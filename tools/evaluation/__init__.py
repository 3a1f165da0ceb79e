"""Parts of tools/evaluate.py: methods, measures, statistics, report."""
