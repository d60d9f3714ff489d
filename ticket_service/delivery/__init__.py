"""Delivery of notifications from the outbox to receivers, as a program of its own."""
