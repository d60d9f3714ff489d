"""Mutation tests: small changes of the decisions and of the SQL, each of which a test must notice."""
