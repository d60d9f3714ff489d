"""What holds at a gate, free of I/O: the rules of admission, tokens and typed codes."""
