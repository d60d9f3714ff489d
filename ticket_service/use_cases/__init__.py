"""Use cases: each runs its work in one transaction, with the clock and the database as arguments."""
