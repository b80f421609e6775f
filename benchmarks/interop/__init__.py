"""Interoperability, proven by running it: who opens whose folders, and whether pictures agree."""
