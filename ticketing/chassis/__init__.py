"""Code that any gRPC service needs; it imports no service and knows no business terms."""
