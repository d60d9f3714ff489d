"""Code that any gRPC service needs; it imports no service and names no business term."""
