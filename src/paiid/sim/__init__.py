"""Wire-faithful simulators of brokers over our own paper engine: for development, tests and users' own bots."""
