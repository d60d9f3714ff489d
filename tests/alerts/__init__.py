"""The files of deploy/ against the programs."""
