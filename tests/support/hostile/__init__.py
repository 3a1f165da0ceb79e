"""Faults and hostile input that tests inject."""
