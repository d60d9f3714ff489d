"""The replication of the ticket service's feed, and the reports of check-ins and incidents to that service."""
