"""A simulated Alpaca: its trading API on the wire, over the paper venue in books of its own."""
