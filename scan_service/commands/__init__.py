"""What an operator runs on the scans database."""
