"""What the broker and the feed at Alpaca share: what may see a pair of keys, one request with its budget, one handshake of a stream
(alpaca.md, sections 1 to 4, 14, 15)."""
