"""A simulated Tradier: its HTTP API and its account stream over the built-in paper venue (ADR 0016)."""
