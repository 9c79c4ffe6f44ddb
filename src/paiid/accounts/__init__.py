"""Which accounts a user may see and trade, and how he wants to trade them (contract A10)."""
