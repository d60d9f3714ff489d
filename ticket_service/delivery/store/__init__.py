"""Statements of the delivery."""
