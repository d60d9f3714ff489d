"""Replication: following the ticket service's feed, and reporting check-ins and incidents to it."""
