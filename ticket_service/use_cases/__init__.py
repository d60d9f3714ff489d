"""Use cases: each runs its work in one transaction; the clock and the database are arguments."""
