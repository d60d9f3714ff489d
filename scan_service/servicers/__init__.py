"""The servicers: each RPC decodes its request, calls a use case and encodes the answer."""
