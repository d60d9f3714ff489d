"""Fixtures that every test may use."""

import os

from ticketing.chassis.grpc_variables import VARIABLES

# gRPC reads them when it is imported. Servers in the process of the tests serve as those of the services do.
os.environ.update({**VARIABLES, **os.environ})

from tests.environment.access import issuer
from tests.environment.databases import new_database, postgres, reusable, scans_url, templates, tickets_url
from tests.environment.declared_reasons import reasons_are_declared, undeclared

__all__ = [
    "issuer",
    "new_database",
    "postgres",
    "reasons_are_declared",
    "reusable",
    "scans_url",
    "templates",
    "tickets_url",
    "undeclared",
]
