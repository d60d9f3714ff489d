"""One module for each migration; a released migration never changes."""
