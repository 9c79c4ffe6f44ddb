"""Bugs planted on purpose, to prove that the suite would notice them."""
