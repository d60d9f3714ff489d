"""Replication: following the feed of tickets, reporting check-ins and incidents."""
