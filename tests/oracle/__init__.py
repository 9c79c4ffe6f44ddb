"""Prices of options by other people's means, and by a slow one of our own: what the service's pricing is judged by."""
