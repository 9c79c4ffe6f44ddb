"""The reconciliation over orders that were changed where they stand: the broker counts for the id, each of ours has its part."""

from decimal import Decimal

from paiid.brokers import BrokerReplace
from paiid.core.db import Database
from paiid.domain.orders import Submission
from paiid.trading.book import Book
from paiid.trading.commands import ReplaceRequest
from paiid.trading.in_place import load_chains
from paiid.trading.merge import accept
from paiid.trading.order_rows import blank_order, parent_fields
from paiid.trading.replace import begin_replace, changed_request
from tests.fake_tradier_like import TradierLike
from tests.reconcile_world import Books, held

D = Decimal


async def test_books_agree_over_a_chain_of_changes(db: Database) -> None:
    """The broker counts for its id what all of them have filled; each of ours has its own part."""
    broker = TradierLike("fake")
    world = await Books(db, broker=broker).open()
    first, name = await world.placed()
    ids = [first]
    for price in ("99", "98", "97"):
        broker.fill(name, "2", price)
        await world.catch_up()
        async with db.begin() as tx:
            book = Book(tx, world.clock, await tx.now_us())
            await book.open(["one"])
            await book.load_with_group([ids[-1]])
            await book.load_replaced()
            await load_chains(book)
            old = book.orders[ids[-1]]
            asked = ReplaceRequest(old.id, limit_price=D(price) - 1)
            request = changed_request(book, old, asked)
            new = blank_order(
                book.now_us, id=f"ord-{price}", account_id="one", origin="ours", client_order_id=f"r-{price}",
                state=Submission.DISPATCHING, **parent_fields(request, request.qty or D(0)),
            )  # fmt: skip
            begin_replace(book, old, new)
            book.add_order(new)
            broker.change(name, BrokerReplace("", limit_price=D(price) - 1))
            assert accept(book, new, broker.view(name), "broker")
            await book.flush()
        ids.append(new.id)
        assert await world.compare(heal=True) == []
    broker.mute = True
    broker.fill(name, "1", "95")
    assert await world.compare() == [
        "position AAPL: ours 6, broker 7",
        "cash: ours -588, broker -683",
        f"fills {ids[-1]}: ours 0, broker 1",
    ]
    assert await world.compare(heal=True) == []
    assert (await world.row()).reconcile_problem is None
    assert held(await world.shown()) == {"AAPL": 7}
