"""Fixtures that every test may use."""

from tests.environment.access import issuer
from tests.environment.databases import new_database, postgres, reusable, scans_url, templates, tickets_url

__all__ = ["issuer", "new_database", "postgres", "reusable", "scans_url", "templates", "tickets_url"]
