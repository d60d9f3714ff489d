"""The only place where messages and domain meet: requests are read here, once, and responses built."""
