"""The tickets database: tables, migrations and all SQL statements of the service except those of `delivery`."""
