"""`paiid reconcile`: how the ledger stands with the brokers' books, and the owner's word that the broker is right."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import typer

from paiid.brokers import Broker, BrokerError, BrokerUpdate
from paiid.brokers.configured import configured_brokers
from paiid.cli.session import CLI_ACTOR, fail, table, with_database
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.failpoints import no_probe
from paiid.core.instants import instant
from paiid.core.settings import Settings
from paiid.domain.money import plain
from paiid.trading import store
from paiid.trading.accept import Accepted, NotAccepted, accept_books
from paiid.trading.merging import Merger
from paiid.trading.reconcile import Reconciler
from paiid.trading.records import AccountRow
from paiid.trading.timings import Timings

_LONGEST_REASON = 200


def show_all() -> None:
    """The command `reconcile list`."""

    async def work(_: Settings, db: Database, __: Clock) -> list[AccountRow]:
        async with db.read() as tx:
            return await store.load_all_accounts(tx)

    rows = [
        (
            row.id,
            row.broker,
            _state(row),
            instant(row.reconciled_at) or "never",
            row.reconcile_problem or "-",
        )
        for row in with_database(work)
    ]
    table(("ACCOUNT", "BROKER", "STATE", "LAST AGREED", "PROBLEM"), rows)


def _state(row: AccountRow) -> str:
    if row.reconcile_problem is not None:
        return "differs"
    return "not compared" if row.reconciled_at is None else "agrees"


def accept(account_id: str, reason: str) -> None:
    """The command `reconcile accept`."""
    words = reason.strip()
    if not 1 <= len(words) <= _LONGEST_REASON or not words.isprintable():
        fail(f"--reason: give 1 to {_LONGEST_REASON} printable characters", 2)

    async def work(settings: Settings, db: Database, clock: Clock) -> Accepted | str:
        async with db.read() as tx:
            account = (await store.load_accounts(tx, [account_id])).get(account_id)
        if account is None:
            return f"there is no account {account_id}; `paiid reconcile list` shows them"
        broker = configured_brokers(settings, db, clock).get(account.broker)
        if broker is None:
            return f"the broker of {account_id} ({account.broker}) is not configured here"
        try:
            return await _accept(db, clock, broker, account_id, words)
        except (NotAccepted, BrokerError) as problem:
            return f"nothing was accepted: {problem}"

    done = with_database(work)
    if isinstance(done, str):
        fail(done)
    _tell(done)


async def _accept(db: Database, clock: Clock, broker: Broker, account_id: str, reason: str) -> Accepted:
    async with AsyncExitStack() as stack:
        await broker.start()
        stack.push_async_callback(broker.stop)
        reconciler = Reconciler(db, clock, broker, Timings().broker_deadline_s)
        merger = Merger(db, clock, broker, f"updates:{broker.name}", no_probe, lambda _: None)

        async def merge(chunk: Sequence[BrokerUpdate]) -> None:
            # Without the reader's lease: what both of them book stands once, under the account's lock.
            await merger.merge(None, chunk)

        return await accept_books(db, clock, reconciler, merge, account_id, CLI_ACTOR, reason)


def _tell(done: Accepted) -> None:
    if done.nothing_to_do:
        typer.echo(f"{done.account_id} agrees with its broker; nothing to accept")
        return
    for difference in done.differences:
        typer.echo(str(difference))
    for print_ in done.prints:
        typer.echo(f"booked: {print_.side} {plain(print_.qty)} {print_.symbol} at {plain(print_.price)}")
    for one in done.adjustments:
        what = (
            f"{plain(one.qty)} {one.symbol} at {plain(one.price)}" if one.qty else f"{plain(one.cash)} cash"
        )
        typer.echo(f"adjusted: {what}")
    for order_id in done.ended:
        typer.echo(f"ended: {order_id}")
    cleared = "" if done.problem is None else f" (was: {done.problem})"
    typer.echo(f"{done.account_id} agrees with its broker now{cleared}")
