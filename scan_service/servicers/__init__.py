"""Where calls arrive: decode, call one use case, encode."""
