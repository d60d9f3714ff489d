"""The version of the three distributions; their builds read it from this file."""

VERSION = "0.1.0"
