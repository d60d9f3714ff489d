"""Events, purchases and tickets for tests of the ticket service."""
