"""One order at a broker that changes it where it stands, in a test's hand: changes, fills, words and answers in any order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import cast

from sqlalchemy import insert

from paiid.brokers import BrokerOrder, BrokerOrderView, BrokerReplace, BrokerUpdate
from paiid.core.clock import SystemClock, new_id
from paiid.core.db import Database, statement
from paiid.core.failpoints import no_probe
from paiid.core.tables import accounts
from paiid.domain.money import money_to_int, qty_to_int
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.commands import ReplaceRequest, Surroundings
from paiid.trading.in_place import shown_terms
from paiid.trading.latch import Latch
from paiid.trading.merge import accept
from paiid.trading.order_rows import blank_order, parent_fields
from paiid.trading.record import Outcome, Recorder, Recording
from paiid.trading.records import IntentRow, OrderRow
from paiid.trading.replace import begin_replace, changed_request
from paiid.trading.timings import Timings
from tests.fake_tradier_like import TradierLike
from tests.halt_world import person
from tests.ledger_world import Merging, account_row

_ACCOUNTS = statement(insert(accounts))
QTY = 20


@dataclass
class Pending:
    """A replacement that is not answered yet, and whether the broker has made the change."""

    row: OrderRow
    change: BrokerReplace
    done: bool = False


class InPlace:
    """An account with one order, bought by a limit; `words` are all views that the broker has ever shown."""

    def __init__(self, db: Database, account: str, folder: Path) -> None:
        self.db = db
        self.account = account
        self.clock = SystemClock()
        self.broker = TradierLike("fake")
        self.merging = Merging(db, self.clock, broker=self.broker)
        self.recorder = Recorder(self.clock, Latch(folder), Timings(), no_probe)
        self.words: list[BrokerOrderView] = []
        self.chain: list[str] = []
        """Ids of our rows, the oldest first; the last one has the broker's id."""
        self.pending: Pending | None = None
        self.prices: list[Decimal] = []
        self.over: dict[str, OrderStatus | None] = {}
        """How each of our rows has ended, by its id."""
        self._count = 0

    async def open(self, price: Decimal) -> None:
        """The order works on both sides."""
        view = self.broker.place(
            BrokerOrder(self.account, f"{self.account}:a", "AAPL", "buy", Decimal(QTY), "limit", "day", price)
        )
        self.name = view.broker_order_id
        async with self.db.begin() as tx:
            now = await tx.now_us()
            await tx.execute(_ACCOUNTS, account_row(self.account, 0, now))
            book = Book(tx, self.clock, now)
            await book.open([self.account])
            row = blank_order(
                now, id=new_id(self.clock, "ord"), account_id=self.account, origin="ours", symbol="AAPL",
                asset_class="stock", client_order_id=view.client_order_id, side="buy", type="limit",
                time_in_force="day", qty=qty_to_int(Decimal(QTY)), limit_price=money_to_int(price),
                reserve_price=money_to_int(price), state=Submission.DISPATCHING,
            )  # fmt: skip
            book.add_order(row)
            assert accept(book, row, view, "broker")
            await book.flush()
        self.chain.append(row.id)
        self.prices.append(price)
        self.show()

    def show(self) -> None:
        """The broker shows the order as it is now, every second time without its tag."""
        view = self.broker.view(self.name)
        self.words.append(view if len(self.words) % 2 else replace(view, client_order_id=None))

    @property
    def ended(self) -> bool:
        """Whether it works no more at the broker."""
        return self.broker.orders[self.name].status in (OrderStatus.FILLED, OrderStatus.CANCELED)

    def fill(self, qty: int, price: Decimal) -> None:
        """A part of it, no more than is left."""
        left = QTY - int(self.broker.orders[self.name].filled_qty)
        if not self.ended:
            self.broker.fill(self.name, Decimal(min(qty, left)), price)
            self.show()

    def end(self) -> None:
        """It is canceled by somebody."""
        if not self.ended:
            self.broker.end(self.name, OrderStatus.CANCELED)
            self.show()

    async def tell(self, at: Sequence[int]) -> None:
        """Some of the words reach us, whatever their age, in one transaction."""
        self._count += 1
        told = [self.words[one % len(self.words)] for one in at]
        await self.merging.merge([BrokerUpdate(self._count, one) for one in told])
        await self._follow()

    async def claim(self, price: Decimal) -> None:
        """A replacement is claimed, as the claim does it; not where one is under way or nothing changes."""
        async with self.db.begin() as tx:
            book = Book(tx, self.clock, await tx.now_us())
            await book.open([self.account])
            await book.load_with_group([self.chain[-1]])
            old = book.orders[self.chain[-1]]
            if self.pending is not None or price == self.prices[-1] or not old.works:
                return
            self._count += 1
            asked = ReplaceRequest(old.id, limit_price=price)
            intent = _intent(book, self.account, f"{self.account}:{self._count}")
            book.add_intent(intent)
            request = changed_request(book, old, asked)
            row = blank_order(
                book.now_us, id=new_id(self.clock, "ord"), account_id=self.account, origin="ours",
                client_order_id=intent.key, reserve_price=money_to_int(price), intent_id=intent.id,
                state=Submission.DISPATCHING, dispatch_deadline_at=book.now_us + 10**9,
                **parent_fields(request, request.qty or Decimal(0)),
            )  # fmt: skip
            begin_replace(book, old, row)
            book.add_order(row)
            await book.flush()
        self.pending = Pending(row, BrokerReplace(row.client_order_id, limit_price=price))

    def change(self) -> None:
        """The request reaches the broker, once."""
        if self.pending is not None and not self.pending.done and not self.ended:
            self.broker.change(self.name, self.pending.change)
            self.pending.done = True
            self.show()

    async def answer(self, *, lost: bool) -> None:
        """The broker's answer, or none, is recorded."""
        if self.pending is not None and (lost or self.pending.done):
            view = None if lost else self.broker.view(self.name)
            await self._record(Outcome(view=view, unknown="no answer in time" if lost else None))

    async def look(self) -> None:
        """A look-up that is answered: by the broker's id, and the terms tell."""
        if self.pending is None:
            return
        async with self.db.read() as tx:
            old, new = await self._load(tx, self.chain[-1]), await self._load(tx, self.pending.row.id)
        view = self.broker.view(self.name)
        if new.state is Submission.UNKNOWN and shown_terms(new, old, view) == "new":
            await self._record(Outcome(view=view))

    async def rows(self) -> list[OrderRow]:
        """The chain as it stands in the ledger, the oldest first, and what is under way."""
        ids = [*self.chain, *([] if self.pending is None else [self.pending.row.id])]
        async with self.db.read() as tx:
            return [await self._load(tx, one) for one in ids]

    @staticmethod
    async def _load(tx: object, order_id: str) -> OrderRow:
        (row,) = await store.load_orders(tx, [order_id])  # type: ignore[arg-type]
        return row

    async def _record(self, outcome: Outcome) -> None:
        assert self.pending is not None
        row = self.pending.row
        recording = Recording(
            row.id, row.intent_id or "", self.account, outcome, person("u"), cast(Surroundings, None), False
        )
        async with self.db.begin() as tx:
            (recorded,) = await self.recorder.batch(tx, [recording])
            assert not isinstance(recorded, Exception)
            assert recorded.alarms == ()
        await self._follow()

    async def _follow(self) -> None:
        """Note what has become of the replacement; it must not be there before the broker has made the change."""
        if self.pending is None:
            return
        async with self.db.read() as tx:
            row = await self._load(tx, self.pending.row.id)
        if row.state is Submission.ACCEPTED:
            assert self.pending.done, "accepted before it was made"
            self.chain.append(row.id)
            self.prices.append(self.pending.change.limit_price or Decimal(0))
            self.pending = None
        elif row.state is Submission.REJECTED:
            # It had ended before: there was nothing left to change.
            assert self.ended
            self.pending = None


def _intent(book: Book, account: str, key: str) -> IntentRow:
    return IntentRow(
        id=book.new_id("int"), user_id="u", key=key, user_key=f"u:{key}", fingerprint="", kind="replace",
        account_id=account, credential="session:s-u", status="OPEN", http_status=None, body=None, corrected=0,
        order_count=1, claimed_at=book.now_us, expires_at=book.now_us + 10**9, unknown_at=None, final_at=None,
        request_id=None,
    )  # fmt: skip
