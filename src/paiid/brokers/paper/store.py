"""The SQL of the paper venue: a fixed small number of statements for a group of any size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from paiid.brokers import BrokerActivity, BrokerExecution, BrokerPosition, BrokerUpdate
from paiid.brokers.paper.accounts import row_of_terms, terms_from_row
from paiid.brokers.paper.group_store import load_combos
from paiid.brokers.paper.records import (
    PaperOrder,
    changes_of_order,
    client_key,
    execution_from_row,
    order_from_row,
    row_of_activity,
    row_of_activity_event,
    row_of_event,
    row_of_execution,
    row_of_order,
    update_from_row,
)
from paiid.core.db import Row, Tx, any_of, statement
from paiid.core.tables import (
    paper_accounts,
    paper_activities,
    paper_events,
    paper_executions,
    paper_liquidity,
    paper_orders,
    paper_positions,
    paper_sequence,
)
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import money_from_int, money_to_int, qty_from_int, qty_to_int
from paiid.domain.paper import Taken
from paiid.domain.paper_account import Holding, MarkOf, PaperAccount
from paiid.domain.terms import DEFAULT_TERMS, AccountTerms

_LOCK_ACCOUNTS = statement(
    select(paper_accounts)
    .where(any_of(paper_accounts.c.number, "b_numbers"))
    .order_by(paper_accounts.c.number)
    .with_for_update()
)
_OPEN_ACCOUNT = statement(insert(paper_accounts).on_conflict_do_nothing())
_SAVE_ACCOUNT = statement(
    update(paper_accounts)
    .where(paper_accounts.c.number == bindparam("b_number"))
    .values(
        cash=bindparam("b_cash"),
        open_orders=bindparam("b_open"),
        open_combos=bindparam("b_combos"),
        version=paper_accounts.c.version + 1,
    )
)
_KNOWN_KEYS = statement(select(paper_orders.c.client_key).where(any_of(paper_orders.c.client_key, "b_keys")))
_HOLDINGS = statement(select(paper_positions).where(any_of(paper_positions.c.account_number, "b_numbers")))
_holding = insert(paper_positions)
_SAVE_HOLDING = statement(
    _holding.on_conflict_do_update(
        index_elements=[paper_positions.c.account_number, paper_positions.c.symbol],
        set_={
            name: _holding.excluded[name]
            for name in (
                "qty",
                "cost_basis",
                "open_buy_qty",
                "open_buy_value",
                "open_sell_qty",
                "open_sell_value",
            )
        },
    )
)
_ORDERS = statement(select(paper_orders).where(any_of(paper_orders.c.id, "b_ids")))
_INSERT_ORDER = statement(insert(paper_orders))
_CHANGE_ORDER = statement(
    update(paper_orders).where(
        paper_orders.c.id == bindparam("b_id"), paper_orders.c.version == bindparam("b_version")
    ),
    columns=[
        "qty",
        "stop_price",
        "hwm",
        "reserve_price",
        "live_at",
        "expires_at",
        "parent_id",
        "replaced_by",
        "fees",
        "triggered_at",
        "filled_qty",
        "filled_value",
        "status",
        "reason",
        "working",
        "version",
        "event_seq",
        "updated_at",
    ],
)
_CHANGED = statement(
    select(func.count().label("n"))
    .select_from(paper_orders)
    .where(any_of(paper_orders.c.id, "b_ids"), paper_orders.c.event_seq > bindparam("b_seq"))
)
_INSERT_EXECUTION = statement(insert(paper_executions))
_INSERT_ACTIVITY = statement(insert(paper_activities))
_INSERT_EVENT = statement(insert(paper_events))
_LIQUIDITY = statement(select(paper_liquidity).where(any_of(paper_liquidity.c.symbol, "b_symbols")))
_liquidity = insert(paper_liquidity)
_SAVE_LIQUIDITY = statement(
    _liquidity.on_conflict_do_update(
        index_elements=[paper_liquidity.c.symbol],
        set_={
            name: _liquidity.excluded[name]
            for name in ("source", "quote_sequence", "as_of", "bid_taken", "ask_taken")
        },
    )
)
_NUMBER = statement(
    update(paper_sequence)
    .where(paper_sequence.c.id == 1)
    .values(seq=paper_sequence.c.seq + bindparam("b_count"))
    .returning(paper_sequence.c.seq)
)
_FIRST_NUMBER = statement(insert(paper_sequence).on_conflict_do_nothing())
_OPEN_BOOK = statement(
    select(paper_orders)
    .where(paper_orders.c.working == 1, paper_orders.c.accepted_seq > bindparam("b_seq"))
    .order_by(paper_orders.c.accepted_seq)
)
_SEQUENCE = statement(select(paper_sequence.c.seq, paper_sequence.c.read_seq))
_EVENTS = statement(
    select(paper_events)
    .where(paper_events.c.seq > bindparam("b_seq"))
    .order_by(paper_events.c.seq)
    .limit(bindparam("b_limit"))
)
_READ_UPTO = statement(
    update(paper_sequence)
    .where(paper_sequence.c.id == 1, paper_sequence.c.read_seq < bindparam("b_seq"))
    .values(read_seq=bindparam("b_seq"))
)
_BY_KEY = statement(select(paper_orders).where(paper_orders.c.client_key == bindparam("b_key")))
_OPEN_OF_ACCOUNT = statement(
    select(paper_orders)
    .where(paper_orders.c.account_number == bindparam("b_number"), paper_orders.c.working == 1)
    .order_by(paper_orders.c.accepted_seq)
)
_ORDERS_SINCE = statement(
    select(paper_orders)
    .where(
        paper_orders.c.account_number == bindparam("b_number"),
        paper_orders.c.submitted_at >= bindparam("b_at"),
        paper_orders.c.parent_id.is_(None),
    )
    .order_by(paper_orders.c.submitted_at, paper_orders.c.accepted_seq)
    .limit(500)
)
_EXECUTIONS = statement(
    select(paper_executions)
    .where(
        paper_executions.c.account_number == bindparam("b_number"),
        paper_executions.c.executed_at >= bindparam("b_at"),
    )
    .order_by(paper_executions.c.executed_at, paper_executions.c.id)
)
_POSITIONS = statement(
    select(paper_positions)
    .where(paper_positions.c.account_number == bindparam("b_number"), paper_positions.c.qty != 0)
    .order_by(paper_positions.c.symbol)
)


class LostRace(Exception):
    """A conditional update met another version of its order: the transaction must not commit."""


@dataclass(slots=True)
class Change:
    """One order before and after; `execution` where it filled, with the quote's number; `legs` are the orders that
    hang on it as they are when the transaction ends. One order may change several times in one transaction."""

    before: PaperOrder | None
    after: PaperOrder
    execution: BrokerExecution | None = None
    quote_sequence: int = 0
    legs: tuple[PaperOrder, ...] = ()


@dataclass(slots=True)
class Accounts:
    """The accounts that a transaction has locked, as they were and as they are now."""

    books: dict[str, PaperAccount]
    blocked: frozenset[str]
    _saved: dict[str, dict[str, Holding]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._saved = {number: dict(book.holdings) for number, book in self.books.items()}

    def changed_holdings(self, numbers: Iterable[str]) -> list[tuple[str, str, Holding]]:
        """(account, symbol, holding) of everything that is not as it was."""
        return [
            (number, symbol, holding)
            for number in numbers
            for symbol, holding in self.books[number].holdings.items()
            if self._saved[number].get(symbol) is not holding
        ]


async def lock_accounts(
    tx: Tx,
    numbers: Iterable[str],
    mark_of: MarkOf,
    now_us: int,
    terms: AccountTerms = DEFAULT_TERMS,
) -> Accounts:
    """Lock these accounts, in order, and load their books; one that is not there yet is opened on these terms."""
    wanted = sorted(set(numbers))
    rows = await tx.fetch(_LOCK_ACCOUNTS, {"b_numbers": wanted})
    if len(rows) < len(wanted):
        there = {row["number"] for row in rows}
        await tx.execute_many(
            _OPEN_ACCOUNT,
            [row_of_terms(number, terms, now_us) for number in wanted if number not in there],
        )
        rows = await tx.fetch(_LOCK_ACCOUNTS, {"b_numbers": wanted})
    books = {
        row["number"]: PaperAccount(
            money_from_int(row["cash"]), {}, mark_of, row["open_orders"], terms_from_row(row)
        )
        for row in rows
    }
    with_spreads = [row["number"] for row in rows if row["open_combos"]]
    if with_spreads:
        for number, combos in (await load_combos(tx, with_spreads)).items():
            books[number].combos = combos
    for row in await tx.fetch(_HOLDINGS, {"b_numbers": wanted}):
        books[row["account_number"]].holdings[row["symbol"]] = holding_from_row(row)
    return Accounts(books, frozenset(row["number"] for row in rows if row["status"] != "active"))


def holding_from_row(row: Row) -> Holding:
    """A row of `paper_positions`."""
    return Holding(
        qty_from_int(row["qty"]),
        money_from_int(row["cost_basis"]),
        qty_from_int(row["open_buy_qty"]),
        money_from_int(row["open_buy_value"]),
        qty_from_int(row["open_sell_qty"]),
        money_from_int(row["open_sell_value"]),
    )


async def load_known_keys(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Which of these client keys have an order."""
    return {row["client_key"] for row in await tx.fetch(_KNOWN_KEYS, {"b_keys": list(keys)})}


async def load_orders(tx: Tx, ids: Sequence[str]) -> dict[str, PaperOrder]:
    """Orders by id, as they are inside this transaction."""
    return {row["id"]: order_from_row(row) for row in await tx.fetch(_ORDERS, {"b_ids": list(ids)})}


async def load_taken(tx: Tx, symbols: Sequence[str]) -> dict[str, Taken]:
    """What has been taken of the newest quote of each symbol."""
    return {
        row["symbol"]: Taken(
            row["source"],
            row["quote_sequence"],
            row["as_of"],
            qty_from_int(row["bid_taken"]),
            qty_from_int(row["ask_taken"]),
        )
        for row in await tx.fetch(_LIQUIDITY, {"b_symbols": list(symbols)})
    }


async def save_taken(tx: Tx, taken: dict[str, Taken]) -> None:
    """Write back what is gone of the quotes."""
    await tx.execute_many(
        _SAVE_LIQUIDITY,
        [
            {
                "symbol": symbol,
                "source": one.source,
                "quote_sequence": one.sequence,
                "as_of": one.as_of_us,
                "bid_taken": qty_to_int(one.bid),
                "ask_taken": qty_to_int(one.ask),
            }
            for symbol, one in sorted(taken.items())
        ],
    )


async def _next_numbers(tx: Tx, count: int) -> int:
    """Take `count` event numbers; the one before the first. Holds the row until the commit."""
    row = await tx.fetch_one(_NUMBER, {"b_count": count})
    if row is None:
        await tx.execute(_FIRST_NUMBER, {"id": 1, "seq": 0, "read_seq": 0, "rolled_at": 0})
        row = await tx.fetch_one(_NUMBER, {"b_count": count})
    if row is None:
        raise LostRace("the event counter vanished")
    last: int = row["seq"]
    return last - count


async def save(
    tx: Tx, accounts: Accounts, changes: Sequence[Change], activities: Sequence[BrokerActivity] = ()
) -> None:
    """Write all changes of a transaction: accounts, holdings, orders, executions, activities, events.

    Gives each order its event number. Raises LostRace when an order moved meanwhile.
    """
    touched = sorted(
        {change.after.account_number for change in changes} | {one.account_number for one in activities}
    )
    await tx.execute_many(
        _SAVE_ACCOUNT,
        [
            {
                "b_number": number,
                "b_cash": money_to_int(accounts.books[number].cash),
                "b_open": accounts.books[number].open_orders,
                "b_combos": len(accounts.books[number].combos),
            }
            for number in touched
        ],
    )
    await tx.execute_many(
        _SAVE_HOLDING,
        [
            {
                "account_number": number,
                "symbol": symbol,
                "qty": qty_to_int(holding.qty),
                "cost_basis": money_to_int(holding.cost_basis),
                "open_buy_qty": qty_to_int(holding.open_buy_qty),
                "open_buy_value": money_to_int(holding.open_buy_value),
                "open_sell_qty": qty_to_int(holding.open_sell_qty),
                "open_sell_value": money_to_int(holding.open_sell_value),
            }
            for number, symbol, holding in accounts.changed_holdings(touched)
        ],
    )
    base = await _next_numbers(tx, len(changes) + len(activities))
    born: dict[str, int] = {}
    for seq, change in enumerate(changes, base + 1):
        if change.before is None:
            born[change.after.id] = seq
        accepted = born.get(change.after.id, change.after.accepted_seq)
        change.after = replace(change.after, event_seq=seq, accepted_seq=accepted)
    if changes:
        await _save_orders(tx, changes, base)
    executions = [
        row_of_execution(change.execution, change.quote_sequence) for change in changes if change.execution
    ]
    if executions:
        await tx.execute_many(_INSERT_EXECUTION, executions)
    await tx.execute_many(
        _INSERT_EVENT,
        [
            *(row_of_event(change.after, change.execution, change.legs) for change in changes),
            *(row_of_activity_event(seq, one) for seq, one in enumerate(activities, base + len(changes) + 1)),
        ],
    )
    if activities:
        await tx.execute_many(_INSERT_ACTIVITY, [row_of_activity(one) for one in activities])


async def _save_orders(tx: Tx, changes: Sequence[Change], base: int) -> None:
    new = [row_of_order(change.after) for change in changes if change.before is None]
    if new:
        await tx.execute_many(_INSERT_ORDER, new)
    moved = [
        {"b_id": change.before.id, "b_version": change.before.version, **changes_of_order(change.after)}
        for change in changes
        if change.before is not None
    ]
    if moved:
        await tx.execute_many(_CHANGE_ORDER, moved)
        # Only this transaction has numbers above `base`: an order that is not up there was not at the version
        # that was read, and a fill must not be booked beside it.
        row = await tx.fetch_one(_CHANGED, {"b_ids": [one["b_id"] for one in moved], "b_seq": base})
        if row is None or row["n"] != len({one["b_id"] for one in moved}):
            raise LostRace("an order changed between reading and writing it")


async def load_open_book(tx: Tx, after_seq: int) -> tuple[list[PaperOrder], list[str], int]:
    """Working orders accepted after this event number, the ids of those whose rows cannot be read, and the
    number up to which that is all of them."""
    row = await tx.fetch_one(_SEQUENCE)
    upto: int = 0 if row is None else row["seq"]
    if upto <= after_seq:
        return [], [], after_seq
    orders: list[PaperOrder] = []
    unreadable: list[str] = []
    for one in await tx.fetch(_OPEN_BOOK, {"b_seq": after_seq}):
        try:
            orders.append(order_from_row(one))
        except ValueError:
            unreadable.append(one["id"])
    return orders, unreadable, upto


async def load_events(tx: Tx, after_seq: int, limit: int) -> list[BrokerUpdate]:
    """The next events behind this number, in order."""
    rows = await tx.fetch(_EVENTS, {"b_seq": after_seq, "b_limit": limit})
    return [update_from_row(row) for row in rows]


async def mark_read(tx: Tx, seq: int) -> None:
    """A reader has everything up to this number; it never goes back."""
    await tx.execute(_READ_UPTO, {"b_seq": seq})


async def find_order(tx: Tx, account_number: str, client_order_id: str) -> PaperOrder | None:
    """An order by its account and client id."""
    row = await tx.fetch_one(_BY_KEY, {"b_key": client_key(account_number, client_order_id)})
    return None if row is None else order_from_row(row)


async def load_open_orders(tx: Tx, account_number: str) -> list[PaperOrder]:
    """Working orders of an account, oldest first."""
    return [order_from_row(row) for row in await tx.fetch(_OPEN_OF_ACCOUNT, {"b_number": account_number})]


async def load_orders_since(tx: Tx, account_number: str, since_us: int) -> list[PaperOrder]:
    """At most 500 orders of an account from this instant on, oldest first; what hangs on another comes with that."""
    rows = await tx.fetch(_ORDERS_SINCE, {"b_number": account_number, "b_at": since_us})
    return [order_from_row(row) for row in rows]


async def load_executions(tx: Tx, account_number: str, since_us: int) -> list[BrokerExecution]:
    """Executions of an account from this instant on, oldest first."""
    rows = await tx.fetch(_EXECUTIONS, {"b_number": account_number, "b_at": since_us})
    return [execution_from_row(row) for row in rows]


async def load_positions(tx: Tx, account_number: str) -> list[BrokerPosition]:
    """Holdings of an account other than zero, by symbol."""
    return [
        BrokerPosition(row["symbol"], holding.qty, abs(holding.avg_entry_price(multiplier_of(row["symbol"]))))
        for row in await tx.fetch(_POSITIONS, {"b_number": account_number})
        for holding in (holding_from_row(row),)
    ]
