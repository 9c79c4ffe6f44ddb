"""Benchmarks against limits and peers, in interleaved rounds of one run; `make bench` runs them."""
