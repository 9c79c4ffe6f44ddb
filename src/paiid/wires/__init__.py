"""What adapters of brokers and feeds share on the way out: one request and its end, budgets of requests, values that may be
anything. Below `brokers` and `feeds`, which must not know each other; it knows neither of them."""
