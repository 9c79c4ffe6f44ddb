"""From a DATABASE_URL to a database object."""

from pathlib import Path

from paiid.core.clock import Clock
from paiid.core.db.api import Database
from paiid.core.db.postgres import PostgresDatabase
from paiid.core.db.sqlite import SqliteDatabase

_SQLITE_PREFIX = "sqlite:///"


def is_postgres(url: str) -> bool:
    """Whether the URL, in any form hosts hand out, names PostgreSQL."""
    return url.split(":", 1)[0].split("+", 1)[0] in {"postgres", "postgresql"}


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///…` URL. Raises ValueError for another kind."""
    scheme, _, rest = url.partition("://")
    if scheme.split("+", 1)[0] != "sqlite" or not rest.startswith("/") or len(rest) < 2:
        raise ValueError("not a SQLite file URL; use sqlite:///path/to/file.db")
    return Path(rest[1:])


def postgres_dsn(url: str) -> str:
    """The plain `postgresql://` form that the driver reads."""
    return "postgresql://" + url.partition("://")[2]


def make_database(url: str, clock: Clock) -> Database:
    """A database for this URL, not yet opened. Raises ValueError for a URL of neither kind."""
    if is_postgres(url):
        return PostgresDatabase(postgres_dsn(url), clock)
    return SqliteDatabase(sqlite_path(url), clock)
