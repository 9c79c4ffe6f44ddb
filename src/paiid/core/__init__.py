"""Machinery without business meaning: settings, database, clock, HTTP edge, logs."""
