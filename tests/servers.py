"""A real PostgreSQL 18 and a real Valkey for the tests: those of `make cluster`, without its password and durability.

`TEST_DATABASE_URL` names a server to use instead (a URL whose user may create databases), `TEST_REDIS_URL` another Redis.
"""

from cluster.servers import PostgresServer, ServerMissing, ValkeyServer, with_database

__all__ = ["PostgresServer", "ServerMissing", "ValkeyServer", "with_database"]
