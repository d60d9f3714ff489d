"""Measured comparisons, run by hand: `make bench`."""
