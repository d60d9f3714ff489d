"""Where messages and the domain meet, and nowhere else."""
