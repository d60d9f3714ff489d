"""Use cases: each runs its work in one transaction; clock and database are arguments."""
