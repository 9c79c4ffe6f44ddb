"""Market data of the simulated Tradier: quotes, chains, bars, the calendar, and the stream (tradier.md, sections 8 and 9)."""
