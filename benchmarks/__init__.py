"""Performance measurements that a developer runs by hand: `make bench`."""
