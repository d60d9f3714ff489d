"""Configurations that operators copy, and the programs that try them on one machine."""
