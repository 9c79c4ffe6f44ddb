"""Several replicas of the service on one machine, over a PostgreSQL and a Valkey from their wheels: `make cluster`."""
