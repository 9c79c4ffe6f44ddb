"""The words of the database seam: transactions, errors, and what every implementation offers."""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from paiid.core.db.counted import Counted
from paiid.core.db.statements import Reads, Statement, Writes

I = TypeVar("I")  # noqa: E741 - an item and its result, as in the docs
R = TypeVar("R")
I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Params = Mapping[str, Any]

OPERATION_BUDGET_S = 1.5
"""From asking to answer; with it a caller hears 503 within 2 s (contract E17)."""
TURN_S = 1.1
"""Of it the longest wait for a turn in a shared transaction, which has the rest."""
READ_BACK_S = 0.35
"""Of the two seconds what is left, behind a COMMIT whose answer was lost, to look whether it was one."""
MAX_GROUP = 128
"""The most calls that share one commit."""
GATHER_S = 0.001
"""The longest a call waits for those it shared its last commit with."""


class DatabaseUnavailable(Exception):
    """The database could not do it in time and nothing was written."""


class CommitUnknown(DatabaseUnavailable):
    """The connection broke during COMMIT: it may or may not have been written."""


class UniqueViolation(Exception):
    """A unique constraint refused a row; `constraint` is the driver's text for it."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class Row(Protocol):
    """A row of a result: columns by name or by number."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def keys(self) -> Any:
        """The column names."""
        ...


class Tx(Protocol):
    """An open transaction. Raises DatabaseUnavailable, UniqueViolation."""

    dialect: str
    """'sqlite' or 'postgresql'; only for what Core cannot say on both."""

    async def fetch(self, stmt: Statement, params: Params | None = None) -> Sequence[Row]:
        """All rows."""
        ...

    async def fetch_one(self, stmt: Statement, params: Params | None = None) -> Row | None:
        """The first row or None."""
        ...

    async def execute(self, stmt: Statement, params: Params | None = None) -> int:
        """Run it; the number of rows it touched."""
        ...

    async def execute_many(self, stmt: Statement, params: Sequence[Params]) -> None:
        """Run it once for each set of parameters, in one round trip."""
        ...

    async def fetch_together(self, reads: Reads) -> list[Sequence[Row]]:
        """The rows of several SELECTs, on PostgreSQL in one round trip and so of one snapshot. Those that lock do so in
        turn. Rows go by name only, and their order is not promised."""
        ...

    async def enter(self, reads: Reads, *, gate: bool = False) -> tuple[int, list[Sequence[Row]]]:
        """What a transaction of the hot path begins with: the order gate (as `pass_gate`) where it is wished, then
        `fetch_together`, which sees all that was committed before the gate was passed; and database time after both."""
        ...

    async def write(self, writes: Writes) -> None:
        """Write rows of several tables, on PostgreSQL in one round trip. No row may be in there twice."""
        ...

    async def now_us(self) -> int:
        """Database time in microseconds since the epoch: the same clock for all replicas."""
        ...

    async def pass_gate(self) -> int:
        """Take the order gate shared until the end of the transaction (contract K3); database time after it."""
        ...

    async def close_gate(self) -> int:
        """Take the order gate exclusively until the end of the transaction; database time after it."""
        ...


class BatchFn(Protocol[I_contra, R_co]):
    """Work of the hot path: all items of a group in one transaction, one result each, in order.

    A result that is an exception is raised to that item's caller alone, its group is committed all the
    same. An exception that is raised undoes the group; each item is then tried alone.
    """

    def __call__(self, tx: Tx, items: Sequence[I_contra], /) -> Awaitable[Sequence[R_co | Exception]]: ...


class Database(Protocol):
    """One database of the service."""

    dialect: str

    async def start(self) -> None:
        """Open it. Raises DatabaseUnavailable."""
        ...

    async def stop(self) -> None:
        """Finish what is under way and close."""
        ...

    def read(
        self, *, brief: bool = False, within_s: float = OPERATION_BUDGET_S
    ) -> AbstractAsyncContextManager[Tx]:
        """Reads of committed rows (SQLite: one snapshot; PostgreSQL: one snapshot a statement), for at most `within_s`.

        `brief` promises a few rows by key: on SQLite such statements run on the event loop, for handing one to
        a thread takes ten times as long as the statement."""
        ...

    def begin(
        self, *, urgent: bool = False, within_s: float = OPERATION_BUDGET_S
    ) -> AbstractAsyncContextManager[Tx]:
        """A write transaction that gives up after `within_s`; `urgent` goes before everybody who waits. Raises
        DatabaseUnavailable at its start, CommitUnknown at its end."""
        ...

    async def commit_with(self, fn: BatchFn[I, R], item: I) -> R:
        """Hand an item to the writer and wait for the commit it shares with others of the same `fn`.

        Raises DatabaseUnavailable (nothing was written), CommitUnknown, or what `fn` gave for this item.
        """
        ...

    async def ping(self) -> None:
        """Prove that it answers. Raises DatabaseUnavailable."""
        ...

    def counted(self) -> Counted:
        """Its figures as they are now."""
        ...
