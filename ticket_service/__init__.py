"""The ticket service: events, purchases, tickets, cancellations and refunds."""
