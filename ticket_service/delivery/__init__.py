"""The delivery of notifications from the outbox to receivers, a program of its own."""
