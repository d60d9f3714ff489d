"""Use cases: one operation each, with its transactions; clock and database are arguments."""
