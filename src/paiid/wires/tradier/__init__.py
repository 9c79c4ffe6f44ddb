"""What the broker and the feed at Tradier share: the token and where it may go, one request, how its JSON tells a collection
(tradier.md, sections 1 to 4 and 9.1)."""
