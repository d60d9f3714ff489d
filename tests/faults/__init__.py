"""Proof under fire: both services as processes under a load of clients, while a seeded nemesis breaks everything."""
