"""The scans database: its tables, statements and migrations."""
