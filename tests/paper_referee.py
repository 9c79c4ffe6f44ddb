"""Random days at the paper venue, and a referee who adds everything up again by himself."""

from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal

from hypothesis import strategies as st

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from tests.paper_world import START_US, Market, Print, PureOrder, PureVenue, World, holding_of

ACCOUNTS = ("me", "bob")
SYMBOLS = ("AAPL", "MSFT")
DAY_US = 60_000_000
"""A short day, so that a sequence of a few dozen steps sees several of them."""
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Show:
    """A new quote: bid and spread in cents, sizes in tenths of a share, so that some are not whole."""

    symbol: str
    bid: int
    spread: int
    bid_size: int
    ask_size: int
    condition: Literal["good", "stale", "no ask", "older"]


@dataclass(frozen=True)
class Ask:
    """An order; `cents` is its limit or stop price."""

    account: str
    symbol: str
    side: Literal["buy", "sell"]
    qty: int
    type: Literal["market", "limit", "stop"]
    tif: Literal["day", "gtc", "ioc", "fok"]
    cents: int


@dataclass(frozen=True)
class Cancel:
    """Of the n-th order from the end."""

    back: int


@dataclass(frozen=True)
class Wait:
    """Time passes, perhaps over the end of a day."""

    ms: int


@dataclass(frozen=True)
class Doors:
    """The market opens or closes."""

    open: bool


Action = Show | Ask | Cancel | Wait | Doors

_cents = st.one_of(st.integers(9_700, 10_300), st.integers(5_000, 20_000))
_sizes = st.one_of(st.integers(0, 500), st.integers(0, 30_000))
shows = st.builds(
    Show,
    st.sampled_from(SYMBOLS),
    _cents,
    st.one_of(st.integers(0, 20), st.just(-5)),
    _sizes,
    _sizes,
    st.sampled_from(["good"] * 9 + ["stale", "no ask", "older"]),
)
asks = st.builds(
    Ask,
    st.sampled_from(ACCOUNTS),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["buy", "sell"]),
    st.one_of(st.integers(1, 60), st.integers(200, 1_100)),
    st.sampled_from(["market", "limit", "stop"]),
    st.sampled_from(["day", "gtc", "ioc", "fok"]),
    _cents,
)
waits = st.builds(Wait, st.sampled_from([1, 19, 20, 21, 300, 1_000, 1_020, 59_000]))


@st.composite
def _squeezes(draw: st.DrawFn) -> list[Action]:
    """All the money in one order, and the price runs away before it is live."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    side: Literal["buy", "sell"] = draw(st.sampled_from(["buy", "sell"]))
    level = draw(st.integers(9_900, 10_100))
    tif = draw(st.sampled_from(["day", "gtc", "ioc", "fok"]))
    size = draw(st.sampled_from([500, 5_000, 20_000]))
    return [
        Show(symbol, level, 0, 20_000, 20_000, "good"),
        Ask(account, symbol, side, draw(st.integers(850, 1_010)), "market", tif, 0),
        Show(symbol, level + draw(st.integers(-200, 4_000)), 2, size, size, "good"),
        Wait(20),
    ]


_single = st.one_of(
    shows,
    asks,
    shows,
    asks,
    waits,
    st.builds(Cancel, st.integers(1, 4)),
    st.builds(Doors, st.sampled_from([True, True, False])),
)
_phrases = st.one_of(_single.map(lambda one: [one]), _single.map(lambda one: [one]), _squeezes())
days = st.lists(_phrases, min_size=12, max_size=40).map(
    lambda phrases: [one for phrase in phrases for one in phrase]
)


@dataclass
class Day:
    """Plays actions at a venue, and remembers what it was told."""

    world: World
    placed: list[tuple[str, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.world.market.hours.roll_us = START_US + DAY_US

    async def open(self) -> None:
        """The first quotes."""
        for symbol in SYMBOLS:
            await self.play(Show(symbol, 9_990, 20, 3_000, 3_000, "good"))

    async def play(self, action: Action) -> None:
        """One action, then the venue looks once."""
        market = self.world.market
        try:
            match action:
                case Show():
                    _show(market, action)
                case Wait():
                    market.clock.us += action.ms * 1000
                    while market.clock.us >= market.hours.roll_us:
                        # The venue may well have been asleep at the roll: it hears of it only now.
                        market.hours.roll_us += DAY_US
                case Doors():
                    market.hours.open = action.open
                case Ask():
                    await self._submit(action)
                case Cancel():
                    if action.back <= len(self.placed):
                        await self.world.cancel(*self.placed[-action.back])
            self.answers.append("yes")
        except BrokerRejected as refused:
            self.answers.append(refused.code)
        except OutcomeUnknown as unknown:
            self.answers.append(str(unknown))
        await self.world.look()

    async def _submit(self, ask: Ask) -> None:
        self._count += 1
        name = f"o{self._count}"
        price = ask.cents * CENT
        await self.world.submit(
            BrokerOrder(
                account_number=ask.account,
                client_order_id=name,
                symbol=ask.symbol,
                side=ask.side,
                qty=Decimal(ask.qty),
                type=ask.type,
                time_in_force=ask.tif,
                limit_price=price if ask.type == "limit" else None,
                stop_price=price if ask.type == "stop" else None,
            )
        )
        self.placed.append((ask.account, name))


def _show(market: Market, show: Show) -> None:
    before = market.quotes.get(show.symbol)
    bid = show.bid * CENT
    market.show(
        show.symbol,
        bid,
        Decimal(show.bid_size) / 10,
        ZERO if show.condition == "no ask" else bid + show.spread * CENT,
        Decimal(show.ask_size) / 10,
        stale=show.condition == "stale",
        number=before.sequence - 1 if before and before.sequence > 1 and show.condition == "older" else None,
    )


class Referee:
    """Believes no sum of the venue's: from orders and prints alone it adds up what must be."""

    def __init__(self, venue: PureVenue) -> None:
        self._venue = venue
        self._judged = 0
        self._taken: dict[tuple[str, int, str], Decimal] = defaultdict(Decimal)
        self._over: dict[str, tuple[OrderStatus, Decimal]] = {}

    async def judge(self) -> None:
        """After every look. Raises AssertionError."""
        for one in self._venue.prints[self._judged :]:
            self._judge_print(one)
        self._judged = len(self._venue.prints)
        for order in self._venue.orders:
            self._judge_order(order)
        for account in ACCOUNTS:
            await self._judge_account(account)

    def _judge_print(self, one: Print) -> None:
        quote, working = one.quote, one.order.working
        hours = self._venue.market.hours
        assert one.qty > 0
        assert one.qty == one.qty.to_integral_value(), "whole shares"
        assert hours.open, "a fill while the market was closed"
        assert not quote.stale
        assert 0 < quote.bid <= quote.ask
        assert one.at_us >= working.live_at_us, "a fill before the order was live"
        assert working.expires_at_us is None or one.at_us < working.expires_at_us, "a fill after the day"
        side, shown = (quote.ask, quote.ask_size) if working.side == "buy" else (quote.bid, quote.bid_size)
        assert one.price == side, "not at the far side of the spread"
        if working.limit_price is not None:
            assert (
                one.price <= working.limit_price
                if working.side == "buy"
                else one.price >= working.limit_price
            ), "worse than the limit"
        key = (working.symbol, quote.sequence, working.side)
        self._taken[key] += one.qty
        assert self._taken[key] <= shown.to_integral_value(ROUND_FLOOR), "more than the quote showed"

    def _judge_order(self, order: PureOrder) -> None:
        prints = [one for one in self._venue.prints if one.order is order]
        filled = sum((one.qty for one in prints), ZERO)
        working = order.working
        assert working.filled_qty == filled <= working.qty, "quantity lost or made up"
        assert order.value == sum((one.qty * one.price for one in prints), ZERO)
        assert (order.status == OrderStatus.FILLED) == (filled == working.qty)
        assert order.status != OrderStatus.NEW or filled == 0
        if working.time_in_force == "fok":
            assert filled in (ZERO, working.qty), "a fok order filled in part"
        if working.time_in_force in ("ioc", "fok"):
            assert len({one.at_us for one in prints}) <= 1, "an immediate order filled twice"
        if order.status in TERMINAL_STATUSES:
            now = (order.status, filled)
            assert self._over.setdefault(f"{order.account}:{order.name}", now) == now, "the dead walk"
        else:
            now_us = self._venue.market.clock.us
            assert working.expires_at_us is None or now_us < working.expires_at_us, (
                "a day order outlived its day"
            )
            if working.time_in_force in ("ioc", "fok"):
                assert now_us < working.live_at_us + 1_000_000, "an immediate order that rests"

    async def _judge_account(self, account: str) -> None:
        book = await self._venue.account(account)
        mine = [one for one in self._venue.prints if one.order.account == account]
        flow = sum(
            (one.qty * one.price * (-1 if one.order.working.side == "buy" else 1) for one in mine), ZERO
        )
        assert book.cash == Decimal(100_000) + flow, "cash does not add up"
        held: dict[str, Decimal] = defaultdict(Decimal)
        for one in mine:
            working = one.order.working
            held[working.symbol] += one.qty if working.side == "buy" else -one.qty
        working_orders = [
            one
            for one in self._venue.orders
            if one.account == account and one.status not in TERMINAL_STATUSES
        ]
        assert book.open_orders == len(working_orders)
        for symbol in SYMBOLS:
            holding = holding_of(book, symbol)
            assert holding.qty == held[symbol], "shares do not add up"
            for side, qty, value in (
                ("buy", holding.open_buy_qty, holding.open_buy_value),
                ("sell", holding.open_sell_qty, holding.open_sell_value),
            ):
                open_ones = [
                    one for one in working_orders if (one.working.symbol, one.working.side) == (symbol, side)
                ]
                assert qty == sum((one.working.left for one in open_ones), ZERO), "reservations: shares"
                assert value == sum((one.working.left * one.reserve for one in open_ones), ZERO), (
                    "reservations: dollars"
                )


class JudgedVenue(PureVenue):
    """Measures buying power around every fill, by a formula of its own."""

    async def _look(self, order: PureOrder) -> None:
        before, count = self._power(order), len(self.prints)
        await super()._look(order)
        if len(self.prints) == count or before is None:
            return
        made = self.prints[-1]
        signed = made.qty if order.working.side == "buy" else -made.qty
        only_closes = made.held_before * signed < 0 and abs(signed) <= abs(made.held_before)
        after = self._power(order)
        assert after is not None
        assert only_closes or after >= min(ZERO, before), f"a fill took buying power from {before} to {after}"

    def _power(self, about: PureOrder) -> Decimal | None:
        """Buying power of the order's account with its symbol at the price it would trade at; None where a
        short has no mark."""
        book = self.accounts.get(about.account)
        if book is None:
            return None
        power = book.cash
        for symbol in SYMBOLS:
            quote = self.market.quotes[symbol]
            mark = quote.ask
            if symbol == about.working.symbol and about.working.side == "sell":
                mark = quote.bid
            held = holding_of(book, symbol).qty
            if held < 0:
                if mark <= 0:
                    return None
                power -= -held * mark * 3 / 2
            for side, cover in (("buy", max(ZERO, -held)), ("sell", max(ZERO, held))):
                mine = [
                    one
                    for one in self.orders
                    if (one.account, one.working.symbol, one.working.side) == (about.account, symbol, side)
                    and one.status not in TERMINAL_STATUSES
                ]
                total = sum((one.working.left for one in mine), ZERO)
                value = sum((one.working.left * one.reserve for one in mine), ZERO)
                opens = max(ZERO, total - cover)
                if opens:
                    power -= value * opens / total * (1 if side == "buy" else Decimal("0.5"))
        return power


async def play_judged(actions: list[Action], venue: PureVenue) -> Day:
    """A day with the referee looking after every step. Raises AssertionError."""
    day, referee = Day(venue), Referee(venue)
    await day.open()
    for action in actions:
        await day.play(action)
        await referee.judge()
    return day


def run(call: Coroutine[Any, Any, Day]) -> Day:
    """Run a coroutine that never really waits, without a loop."""
    try:
        call.send(None)
    except StopIteration as done:
        result: Day = done.value
        return result
    raise AssertionError("the pure venue waited for something")
