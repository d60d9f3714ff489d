"""Stand-ins for the systems that the services and gate devices call, behind real sockets."""
