"""The RPCs: decode, call one use case, encode."""
