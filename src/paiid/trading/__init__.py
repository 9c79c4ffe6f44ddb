"""Orders: from a request under a key to one submission at the broker, and the ledger of what became of it."""
