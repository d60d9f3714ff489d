"""Services and gate devices as processes, for tests that kill them."""
