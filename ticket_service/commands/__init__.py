"""The commands of an operator: `python -m ticket_service COMMAND`."""
