"""What tickets are and how is decided about them: plain data and pure functions, no I/O."""
