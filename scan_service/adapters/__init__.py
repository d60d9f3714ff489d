"""The ways out of this service."""
