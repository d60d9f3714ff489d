"""The tickets database: tables, migrations and every SQL statement of the service but those of `delivery`."""
