"""Adapters to other systems and formats: the scan service, payment providers, key files, pictures and pages."""
