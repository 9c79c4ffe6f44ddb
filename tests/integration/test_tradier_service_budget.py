"""The whole service on sixty requests a minute: forty symbols watched, a burst of orders, then cancels and a halt."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paiid.feeds.simulated.listing import LISTINGS
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT
from paiid.sim.tradier.app import LEDGER_FILE
from tests.feed_world import FeedWorld, feed_world
from tests.tradier_counted import LIMIT, CountedTradier, counted_tradier
from tests.tradier_referee import Referee

WINDOW_S = 10.0
"""A minute of Tradier's."""
PATIENCE_S = 100.0
"""Only guards against hanging."""
WATCHED = tuple(LISTINGS)[:40]
SOLD = "KO"
ENTRIES, EXITS = (*[one for one in WATCHED if one != SOLD][:38], "AAPL", "SPY"), 20
RESTING = 30
CANCELS = 5
"""No more than are kept for cancels alone: a tenth of the limit."""
_KEYS = itertools.count()


@dataclass
class Shop:
    """Orders of one caller, each under a key of its own, with all that was answered."""

    world: FeedWorld
    account: str
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: list[tuple[str, int, Any, str | None]] = field(default_factory=list)
    finals: dict[str, Any] = field(default_factory=dict)

    def keys(self, orders: Iterable[dict[str, Any]]) -> list[str]:
        """A new key for each."""
        made = {f"budget-{next(_KEYS):06d}": order for order in orders}
        self.asked |= made
        return list(made)

    async def ask(self, key: str) -> int:
        """Ask once; the status."""
        answer = await self.world.owner.execute(self.asked[key], key=key, account=self.account)
        self.told.append((key, answer.status_code, answer.json(), answer.headers.get("retry-after")))
        if answer.status_code in (200, 423):
            self.finals.setdefault(key, answer.json())
            assert self.finals[key] == answer.json()
        return answer.status_code

    async def settle(self, *keys: str) -> None:
        """Ask under these keys again and again until each answer is final."""

        async def one(key: str) -> None:
            while await self.ask(key) not in (200, 423):
                await asyncio.sleep(0.2)

        await asyncio.gather(*(one(key) for key in keys))

    def orders(self, *keys: str) -> list[dict[str, Any]]:
        """What became of them, as far as it is final."""
        return [self.finals[key]["orders"][0] for key in keys or self.finals if key in self.finals]

    def check_answers(self, failed: int) -> None:
        """Each is one of those that there may be; 503 for want of a price, not placed what the broker itself has answered with 500."""
        absent: set[str] = set()
        for key, status, body, retry_after in self.told:
            assert status in (200, 202, 423, 429, 503), body
            assert (status == 429) <= (retry_after is not None)
            if status == 200:
                (order,) = body["orders"]
                rejected = order["state"] == "REJECTED" and order["reason"]["code"] == "not_sent"
                if order["state"] == "NOT_PLACED":
                    absent.add(key)
                    continue
                assert order["state"] == "ACCEPTED" or rejected, (
                    order["symbol"],
                    order["side"],
                    order["reason"],
                )
        assert len(absent) <= failed


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for what must come; a window, or two, may have to end before it does."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
        return found


def bought(symbol: str, qty: int = 1) -> dict[str, Any]:
    """An entry that fills."""
    return {"symbol": symbol, "side": "buy", "qty": qty}


def resting(n: int) -> dict[str, Any]:
    """An entry that stays, in another symbol than what is sold: that would be a wash trade."""
    others = [one for one in WATCHED if one != SOLD]
    return {"symbol": others[n % len(others)], "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.00}


SALE = {"symbol": SOLD, "side": "sell", "qty": 1}


@dataclass
class Small:
    """The service, its simulator, and the caller."""

    tradier: CountedTradier
    world: FeedWorld
    shop: Shop

    def assert_placed_once(self) -> None:
        """What was accepted once, and nothing else."""
        placed = self.tradier.placed()
        assert set(placed.values()) == {1}
        accepted = [one["client_order_id"] for one in self.shop.orders() if one["state"] == "ACCEPTED"]
        assert sorted(placed) == sorted(accepted)

    async def until_resting(self, count: int) -> list[dict[str, Any]]:
        """Orders that stay, once there are so many."""

        async def rest() -> list[dict[str, Any]] | None:
            found = [
                one for one in self.shop.orders() if one["type"] == "limit" and one["state"] == "ACCEPTED"
            ]
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = await until(rest)
        return found

    async def until_no_place(self) -> None:
        """Until an order is refused before its claim."""
        since = len(self.shop.told)

        async def refused() -> bool:
            return any(status == 429 for _, status, _, _ in self.shop.told[since:])

        await until(refused)

    async def assert_agree(self) -> None:
        """The service's books and the simulator's, in the end."""
        sim = self.tradier.sim.exchange.db
        referee = Referee(sim, self.tradier.directory / LEDGER_FILE, self.world.app.state.db)

        async def agree() -> bool:
            return not await referee.differences()

        try:
            await until(agree)
        except TimeoutError:
            raise AssertionError(await referee.differences()) from None


@asynccontextmanager
async def small_service(sqlite_url: str, tmp_path: Path, template: Path) -> AsyncIterator[Small]:
    """With its account open and compared."""
    async with (
        counted_tradier(tmp_path / "sim", template, window_s=WINDOW_S) as tradier,
        feed_world(sqlite_url, tmp_path / "data", **tradier.settings()) as world,
    ):
        yield Small(tradier, world, Shop(world, await world.account("tradier")))


@asynccontextmanager
async def hammering(shop: Shop, callers: int = LIMIT) -> AsyncIterator[None]:
    """Callers who never cease to ask for entries that stay, until each is answered finally. As many as a window has places, so that it
    is full however long a slow machine takes for each call; and so they rest, or refusals alone would keep it busy."""
    ending = asyncio.Event()

    async def call(number: int) -> None:
        for n in itertools.count(number, callers):
            (key,) = shop.keys([resting(n)])
            while await shop.ask(key) not in (200, 423):
                await asyncio.sleep(1.0)
            if ending.is_set():
                return

    tasks = [asyncio.create_task(call(number)) for number in range(callers)]
    try:
        yield
    finally:
        ending.set()
        await asyncio.gather(*tasks)


async def halted_and_swept(world: FeedWorld) -> dict[str, Any]:
    """Halt and cancel everything; the receipt once nothing is left to be done."""
    wish = {"halt": True, "cancel": True, "reason": "test"}
    answer = await world.owner.post("/api/admin/kill", json=wish)
    assert answer.status_code == 200, answer.text

    async def done() -> dict[str, Any] | None:
        view: dict[str, Any] = await world.get("/api/admin/kill")
        return None if view["receipt"]["pending"] else view

    view: dict[str, Any] = await until(done)
    return view


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_E05_K06_a_burst_with_forty_symbols_watched_places_each_order_once_and_starves_no_cancel_and_no_halt(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with small_service(sqlite_url, tmp_path, template) as small:
        tradier, world, shop = small.tradier, small.world, small.shop
        async with world.watching(*WATCHED) as watcher:
            (stock,) = shop.keys([bought(SOLD, EXITS)])
            await shop.settle(stock)
            await world.owner.wait_filled(shop.orders(stock)[0]["id"], timeout_s=20)

            burst = shop.keys([*(bought(one) for one in ENTRIES), *[SALE] * EXITS])
            await asyncio.gather(*(shop.ask(key) for key in burst))
            await shop.settle(*burst)
            shop.check_answers(tradier.failed_submits())
            small.assert_placed_once()

            (more,) = shop.keys([bought(SOLD)])
            await shop.settle(more)
            await world.owner.wait_filled(shop.orders(more)[0]["id"], timeout_s=20)
            (sale,) = shop.keys([SALE])

            async with hammering(shop):
                stays = await small.until_resting(RESTING)
                await small.until_no_place()
                # For entries, that is: for what closes there is.
                while (status := await shop.ask(sale)) != 200:
                    # Only a slow machine may put it off, with its answer under way or its price too old.
                    assert status in (202, 503), status
                    await asyncio.sleep(0.1)
                gone = await asyncio.gather(
                    *(world.owner.delete(f"/api/trading/orders/{one['id']}") for one in stays[:CANCELS])
                )
                assert {one.json()["outcome"] for one in gone} <= {"requested", "done"}, [
                    one.text for one in gone
                ]
                view = await halted_and_swept(world)
            assert view["level"] == "drained"
            assert len(view["cancels"]) >= RESTING - CANCELS
            assert {one["outcome"] for one in view["cancels"]} <= {"requested", "done"}
            assert await tradier.sim.exchange.venue.fetch_open_orders(DEFAULT_ACCOUNT, 5.0) == []
            shop.check_answers(tradier.failed_submits())
            small.assert_placed_once()
            assert tradier.refused() == []
            assert watcher.failed is None
        await small.assert_agree()
