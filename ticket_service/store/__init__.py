"""The tickets database: tables, migrations and every SQL statement of this service."""
