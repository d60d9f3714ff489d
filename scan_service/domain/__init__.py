"""The rules of the scan service: plain data and pure functions, no I/O."""
