"""Streams: channels, their sequences, and getting them to many clients at once. Knows nothing of trading."""
