"""Decisions about events, sales, tickets and refunds: frozen dataclasses and pure functions, without I/O."""
