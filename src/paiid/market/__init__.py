"""Market data as users and the order path see it: newest quotes, clock and calendar."""
