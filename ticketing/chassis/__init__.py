"""Code that any gRPC service needs, without imports of a service and without business terms."""
