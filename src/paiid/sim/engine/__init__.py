"""What every simulated broker is made of, whoever it simulates: books, ledger, faults, connections, the server."""
