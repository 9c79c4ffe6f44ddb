"""The SQL of the paper venue: a fixed small number of statements for a group of any size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from paiid.brokers import BrokerActivity, BrokerExecution
from paiid.brokers.paper.accounts import row_of_terms, terms_from_row
from paiid.brokers.paper.group_store import load_combos
from paiid.brokers.paper.records import (
    PaperOrder,
    changes_of_order,
    order_from_row,
    row_of_activity,
    row_of_activity_event,
    row_of_event,
    row_of_execution,
    row_of_order,
)
from paiid.core.db import (
    Params,
    Read,
    Reads,
    Row,
    Statement,
    Tx,
    any_of,
    insert_of_rows,
    statement,
    update_of_rows,
)
from paiid.core.leases import Held, LeaseLost, held_read
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
_SAVE_ACCOUNTS = update_of_rows(
    paper_accounts, {"number": "b_number"}, ["cash", "open_orders", "open_combos", "version"]
)
_KNOWN_KEYS = statement(select(paper_orders.c.client_key).where(any_of(paper_orders.c.client_key, "b_keys")))
_HOLDINGS = statement(select(paper_positions).where(any_of(paper_positions.c.account_number, "b_numbers")))
_INSERT_HOLDINGS = insert_of_rows(paper_positions)
_SAVE_HOLDINGS = update_of_rows(
    paper_positions,
    {"account_number": "b_number", "symbol": "b_symbol"},
    ["qty", "cost_basis", "open_buy_qty", "open_buy_value", "open_sell_qty", "open_sell_value"],
)
_ORDERS = statement(select(paper_orders).where(any_of(paper_orders.c.id, "b_ids")))
_INSERT_ORDERS = insert_of_rows(paper_orders)
_CHANGE_ORDERS = update_of_rows(
    paper_orders,
    {"id": "b_id", "version": "b_version"},
    [
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
_INSERT_EXECUTIONS = insert_of_rows(paper_executions)
_INSERT_ACTIVITIES = insert_of_rows(paper_activities)
_INSERT_EVENTS = insert_of_rows(paper_events)
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
    versions: dict[str, int]
    _saved: dict[str, dict[str, Holding]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._saved = {number: dict(book.holdings) for number, book in self.books.items()}

    def rows_to_save(self, numbers: Iterable[str]) -> tuple[list[Params], list[Params], list[Params]]:
        """Accounts, and of their holdings what is not as it was: those that are new, and those that were there. From now on they
        are as they were."""
        accounts: list[Params] = []
        new: list[Params] = []
        changed: list[Params] = []
        for number in numbers:
            book, saved = self.books[number], self._saved[number]
            self.versions[number] += 1
            accounts.append(
                {
                    "b_number": number,
                    "cash": money_to_int(book.cash),
                    "open_orders": book.open_orders,
                    "open_combos": len(book.combos),
                    "version": self.versions[number],
                }
            )
            for symbol, holding in book.holdings.items():
                before = saved.get(symbol)
                if before is None:
                    new.append({"account_number": number, "symbol": symbol, **_columns_of(holding)})
                elif before is not holding:
                    changed.append({"b_number": number, "b_symbol": symbol, **_columns_of(holding)})
            saved.update(book.holdings)
        return accounts, new, changed


async def enter_accounts(
    tx: Tx,
    numbers: Iterable[str],
    mark_of: MarkOf,
    reads: Reads = (),
    terms: AccountTerms = DEFAULT_TERMS,
    *,
    held: Held | None = None,
) -> tuple[int, Accounts, list[Sequence[Row]]]:
    """Database time, these accounts with their books, and what `reads` find: the accounts are locked first, in order, and one that
    is not there yet is opened on these terms. All that depends on them is read in a statement after the lock, for a statement sees
    what was committed when it began. Raises LeaseLost where a lease is wished for and does not stand."""
    wanted = sorted(set(numbers))
    leases = [] if held is None else [held_read(held)]
    now_us, (*mine, rows) = await tx.enter([*leases, (_LOCK_ACCOUNTS, {"b_numbers": wanted})])
    if held is not None and not all(mine):
        raise LeaseLost(held.name)
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
    kept, *found = await tx.fetch_together([(_HOLDINGS, {"b_numbers": wanted}), *reads])
    for row in kept:
        books[row["account_number"]].holdings[row["symbol"]] = holding_from_row(row)
    with_spreads = [row["number"] for row in rows if row["open_combos"]]
    if with_spreads:
        for number, combos in (await load_combos(tx, with_spreads)).items():
            books[number].combos = combos
    blocked = frozenset(row["number"] for row in rows if row["status"] != "active")
    return now_us, Accounts(books, blocked, {row["number"]: row["version"] for row in rows}), found


def _columns_of(holding: Holding) -> dict[str, int]:
    return {
        "qty": qty_to_int(holding.qty),
        "cost_basis": money_to_int(holding.cost_basis),
        "open_buy_qty": qty_to_int(holding.open_buy_qty),
        "open_buy_value": money_to_int(holding.open_buy_value),
        "open_sell_qty": qty_to_int(holding.open_sell_qty),
        "open_sell_value": money_to_int(holding.open_sell_value),
    }


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


def keys_read(keys: Sequence[str]) -> Read:
    """Which of these client keys have an order: a read whose rows `keys_of` understands."""
    return _KNOWN_KEYS, {"b_keys": list(keys)}


def keys_of(rows: Iterable[Row]) -> set[str]:
    """The client keys that are known."""
    return {row["client_key"] for row in rows}


async def load_known_keys(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Which of these client keys have an order."""
    stmt, params = keys_read(keys)
    return keys_of(await tx.fetch(stmt, params))


def orders_read(ids: Iterable[str]) -> Read:
    """Orders by id: a read whose rows `orders_of` understands."""
    return _ORDERS, {"b_ids": sorted(set(ids))}


def orders_of(rows: Iterable[Row]) -> dict[str, PaperOrder]:
    """Orders by id."""
    return {row["id"]: order_from_row(row) for row in rows}


async def load_orders(tx: Tx, ids: Sequence[str]) -> dict[str, PaperOrder]:
    """Orders by id, as they are inside this transaction."""
    stmt, params = orders_read(ids)
    return orders_of(await tx.fetch(stmt, params))


def taken_read(symbols: Iterable[str]) -> Read:
    """What has been taken of the newest quote of each symbol: a read whose rows `taken_of` understands."""
    return _LIQUIDITY, {"b_symbols": sorted(symbols)}


def taken_of(rows: Iterable[Row]) -> dict[str, Taken]:
    """What has been taken, by symbol."""
    return {
        row["symbol"]: Taken(
            row["source"],
            row["quote_sequence"],
            row["as_of"],
            qty_from_int(row["bid_taken"]),
            qty_from_int(row["ask_taken"]),
        )
        for row in rows
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
    base = await _next_numbers(tx, len(changes) + len(activities))
    first: dict[str, Change] = {}
    last: dict[str, Change] = {}
    for seq, change in enumerate(changes, base + 1):
        begun = first.setdefault(change.after.id, change)
        accepted = change.after.accepted_seq if begun.before is not None else begun.after.accepted_seq or seq
        change.after = replace(change.after, event_seq=seq, accepted_seq=accepted)
        last[change.after.id] = change
    accounts_rows, new_holdings, holdings = accounts.rows_to_save(touched)
    events = [row_of_event(change.after, change.execution, change.legs) for change in changes]
    events += [row_of_activity_event(seq, one) for seq, one in enumerate(activities, base + len(changes) + 1)]
    # An order that changes several times is written once: as it was read, and as it is at the end.
    born = [row_of_order(last[id_].after) for id_, one in first.items() if one.before is None]
    moved = [
        {"b_id": id_, "b_version": one.before.version, **changes_of_order(last[id_].after)}
        for id_, one in first.items()
        if one.before is not None
    ]
    writes: list[tuple[Statement, Sequence[Params]]] = [
        (_SAVE_ACCOUNTS, accounts_rows),
        (_INSERT_HOLDINGS, new_holdings),
        (_SAVE_HOLDINGS, holdings),
        (_INSERT_ORDERS, born),
        (_CHANGE_ORDERS, moved),
        (
            _INSERT_EXECUTIONS,
            [row_of_execution(one.execution, one.quote_sequence) for one in changes if one.execution],
        ),
        (_INSERT_EVENTS, events),
        (_INSERT_ACTIVITIES, [row_of_activity(one) for one in activities]),
    ]
    await tx.write([(stmt, rows) for stmt, rows in writes if rows])
    if moved:
        # Only this transaction has numbers above `base`: an order that is not up there was not at the version
        # that was read, and a fill must not be booked beside it.
        row = await tx.fetch_one(_CHANGED, {"b_ids": [one["b_id"] for one in moved], "b_seq": base})
        if row is None or row["n"] != len(moved):
            raise LostRace("an order changed between reading and writing it")
