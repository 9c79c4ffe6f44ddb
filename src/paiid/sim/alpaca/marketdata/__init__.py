"""What data.alpaca.markets and stream.data.alpaca.markets serve, over the market that the simulated venue fills at."""
