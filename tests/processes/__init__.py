"""Services and gate devices as processes of their own, for tests that end them."""
