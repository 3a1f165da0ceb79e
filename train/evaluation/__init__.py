"""Metrics on evaluation records, the fills they are compared with, and which network is the best."""
