"""Adapters of other services."""
