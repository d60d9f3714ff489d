"""The rules of the ticket service: plain data and pure functions, no I/O."""
