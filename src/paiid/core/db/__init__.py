"""The database: short transactions, group commit, and one set of errors on SQLite and PostgreSQL.

Statements are SQLAlchemy Core, compiled once and run straight on the driver (docs/adr/0002). Three doors:

* `async with db.read() as tx`: reads only, from committed rows.
* `async with db.begin() as tx`: a write transaction; commits at the end of the block.
* `await db.commit_with(fn, item)`: the hot path. Calls that wait at the same time share one transaction
  and one commit; each is answered only after the commit that holds its rows.

    DatabaseUnavailable        nothing was written; the caller answers 503
    └── CommitUnknown          the connection broke during COMMIT; read back before you say anything
"""

from paiid.core.db.api import (
    READ_BACK_S,
    BatchFn,
    CommitUnknown,
    Database,
    DatabaseUnavailable,
    Params,
    Row,
    Tx,
    UniqueViolation,
)
from paiid.core.db.connect import make_database
from paiid.core.db.statements import (
    Read,
    Reads,
    Statement,
    Writes,
    any_of,
    insert_of_rows,
    one_of,
    statement,
    update_of_rows,
)

__all__ = [
    "READ_BACK_S",
    "BatchFn",
    "CommitUnknown",
    "Database",
    "DatabaseUnavailable",
    "Params",
    "Read",
    "Reads",
    "Row",
    "Statement",
    "Tx",
    "UniqueViolation",
    "Writes",
    "any_of",
    "insert_of_rows",
    "make_database",
    "one_of",
    "statement",
    "update_of_rows",
]
