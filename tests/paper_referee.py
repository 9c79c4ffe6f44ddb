"""Plays days at the paper venue, with a referee who adds everything up again by himself."""

from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.domain.money import ZERO
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from tests.paper_days import (
    ACCOUNTS,
    DAY_US,
    EVENING_US,
    SYMBOLS,
    Action,
    Ask,
    Cancel,
    Doors,
    Show,
    Wait,
)
from tests.paper_world import START_US, Market, Print, PureOrder, PureVenue, World, holding_of

CENT = Decimal("0.01")
MILLIONTH = Decimal("0.000001")


@dataclass
class Day:
    """Plays actions at a venue, and remembers what it was told."""

    world: World
    placed: list[tuple[str, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.world.market.hours.roll_us = START_US + DAY_US
        self.world.market.hours.extended_roll_us = START_US + DAY_US + EVENING_US

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
                        market.hours.extended_roll_us += DAY_US
                case Doors():
                    market.hours.open, market.hours.extended = action.open, action.extended
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
        price, more, amount = ask.cents * CENT, ask.more * CENT, Decimal(ask.qty)
        trails, stops = ask.type == "trailing_stop", ask.type in ("stop", "stop_limit")
        in_dollars = ask.size == "dollars"
        await self.world.submit(
            BrokerOrder(
                account_number=ask.account,
                client_order_id=name,
                symbol=ask.symbol,
                side=ask.side,
                qty=None if in_dollars else amount / 1000 if ask.size == "parts" else amount,
                type=ask.type,
                time_in_force=ask.tif,
                limit_price=price
                if ask.type == "limit"
                else price + more
                if ask.type == "stop_limit"
                else None,
                stop_price=price if stops else None,
                notional=amount * 10 if in_dollars else None,
                trail_price=more if trails and ask.more % 2 else None,
                trail_percent=more if trails and not ask.more % 2 else None,
                extended_hours=ask.extended and ask.type == "limit",
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
        self._stops: dict[str, Decimal] = {}

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
        parts = working.notional is not None or working.qty % 1 != 0
        assert parts or one.qty % 1 == 0, "whole shares"
        if parts and working.side == "sell":
            assert one.held_before >= one.qty, "a fraction sold short"
        assert hours.open or (working.extended_hours and hours.extended), "a fill while the market was closed"
        assert not quote.stale
        assert 0 < quote.bid <= quote.ask
        assert one.at_us >= working.live_at_us, "a fill before the order was live"
        assert working.expires_at_us is None or one.at_us < working.expires_at_us, "a fill after the day"
        side, shown = (quote.ask, quote.ask_size) if working.side == "buy" else (quote.bid, quote.bid_size)
        assert one.price == self._far_side(one, side, shown), "not at the far side of the spread"
        if working.limit_price is not None:
            assert (
                one.price <= working.limit_price
                if working.side == "buy"
                else one.price >= working.limit_price
            ), "worse than the limit"
        key = (working.symbol, quote.sequence, working.side)
        self._taken[key] += one.qty
        assert self._taken[key] <= shown.to_integral_value(ROUND_FLOOR), "more than the quote showed"

    def _far_side(self, one: Print, price: Decimal, shown: Decimal) -> Decimal:
        """The price of the quote, and a tick more for each whole size of it that the order had before."""
        if not self._venue.terms.impact:
            return price
        limit = one.order.working.limit_price
        ticks = min(50, int(one.taken_before / shown.to_integral_value(ROUND_FLOOR)))
        if one.order.working.side == "buy":
            return min(price + ticks * CENT, limit or 10**9)
        return max(price - ticks * CENT, limit or ZERO)

    def _judge_stop(self, order: PureOrder) -> None:
        stop, name = order.working.stop_price, f"{order.account}:{order.name}"
        if order.working.type == "trailing_stop" and stop is not None:
            before = self._stops.setdefault(name, stop)
            assert stop >= before if order.working.side == "sell" else stop <= before, "a trail went back"
            self._stops[name] = stop

    def _fees(self, order: PureOrder) -> Decimal:
        if not self._venue.terms.fees or order.working.side == "buy" or not order.working.filled_qty:
            return ZERO
        by_share = min(Decimal("9.79"), order.working.filled_qty * Decimal("0.000195"))
        return (order.value * Decimal("0.0000206") + by_share).quantize(CENT, ROUND_CEILING)

    def _judge_order(self, order: PureOrder) -> None:
        prints = [one for one in self._venue.prints if one.order is order]
        filled = sum((one.qty for one in prints), ZERO)
        working = order.working
        assert working.filled_qty == filled <= working.qty, "quantity lost or made up"
        assert order.value == sum((_money(one.qty * one.price) for one in prints), ZERO)
        if working.notional is None:
            assert (order.status == OrderStatus.FILLED) == (filled == working.qty)
        else:
            assert order.value <= working.notional, "more dollars than were asked for"
            if order.status == OrderStatus.FILLED:
                assert working.notional - order.value < prints[-1].price * Decimal("1e-9") + MILLIONTH
        assert order.fees == sum((one.fee for one in prints), ZERO) == self._fees(order), "fees"
        self._judge_stop(order)
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
            (
                _money(one.qty * one.price) * (-1 if one.order.working.side == "buy" else 1) - one.fee
                for one in mine
            ),
            ZERO,
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
                assert value == sum((_money(one.working.left * one.reserve) for one in open_ones), ZERO), (
                    "reservations: dollars"
                )


def _money(value: Decimal) -> Decimal:
    return value.quantize(MILLIONTH, ROUND_HALF_EVEN)


@dataclass(frozen=True)
class State:
    """What the margin of an account depends on: cash, shares held, and (symbol, side, shares left, reserve price)."""

    cash: Decimal
    held: dict[str, Decimal]
    open_ones: list[tuple[str, str, Decimal, Decimal]]


class JudgedVenue(PureVenue):
    """Measures free margin around every fill, by a formula of its own."""

    async def _look(self, order: PureOrder) -> None:
        before, count = self._state(order.account), len(self.prints)
        await super()._look(order)
        if len(self.prints) == count:
            return
        made = self.prints[-1]
        signed = made.qty if order.working.side == "buy" else -made.qty
        only_closes = made.held_before * signed < 0 and abs(signed) <= abs(made.held_before)
        if only_closes:
            return
        marks = (order.working.symbol, made.price)
        was, is_now = self._free(before, *marks), self._free(self._state(order.account), *marks)
        assert was is not None, "an opening fill in an account without a value"
        assert is_now is not None
        assert is_now >= min(ZERO, was), f"a fill took free margin from {was} to {is_now}"

    def _state(self, account: str) -> State:
        book = self.accounts[account]
        open_ones = [
            (one.working.symbol, one.working.side, one.working.left, one.reserve)
            for one in self.orders
            if one.account == account and one.status not in TERMINAL_STATUSES
        ]
        return State(book.cash, {symbol: holding_of(book, symbol).qty for symbol in SYMBOLS}, open_ones)

    def _free(self, state: State, about: str, price: Decimal) -> Decimal | None:
        """Free margin with one symbol at this price; None where a short has no mark."""
        marks = {}
        for symbol in SYMBOLS:
            quote = self.market.quotes[symbol]
            marks[symbol] = quote.ask if state.held[symbol] < 0 else quote.bid
        marks[about] = price
        if any(state.held[symbol] < 0 and marks[symbol] <= 0 for symbol in SYMBOLS):
            return None
        worth = {symbol: state.held[symbol] * marks[symbol] for symbol in SYMBOLS}
        lends = self.terms.margin and state.cash + sum(worth.values()) >= 2000
        half = Decimal("0.5")
        free = state.cash
        for symbol in SYMBOLS:
            held = state.held[symbol]
            free += worth[symbol] * 3 / 2 if held < 0 else worth[symbol] * half if lends else ZERO
            for side, cover in (("buy", max(ZERO, -held)), ("sell", max(ZERO, held))):
                mine = [one for one in state.open_ones if one[:2] == (symbol, side)]
                total = sum((left for *_, left, _ in mine), ZERO)
                value = sum((_money(left * reserve) for *_, left, reserve in mine), ZERO)
                opens = max(ZERO, total - cover)
                if opens:
                    free -= value * opens / total * (half if side == "sell" or lends else 1)
        return free


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
