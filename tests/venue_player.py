"""Plays a random day at the venue's real books, stepped by hand, with a day roll at its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerOrder, BrokerRejected
from paiid.brokers.paper.roll import DayRoll
from paiid.domain.calendar import session_of
from paiid.domain.corporate import CorporateAction
from paiid.domain.occ import find_contract
from paiid.domain.orders import StopLoss, TakeProfit
from tests.paper_floor import Floor, order, spread
from tests.paper_world import HandHours
from tests.venue_days import (
    CENT,
    OPTIONS,
    SPREADS,
    Action,
    Ask,
    Cancel,
    DayEnds,
    Move,
    Option,
    Replace,
    Spread,
    Wait,
)

DAY_US = 86_400_000_000


class DayHours(HandHours):
    """Hours that roll every day."""

    def next_roll_us(self, at_us: int) -> int:
        return self.roll_us + ((at_us - self.roll_us) // DAY_US + 1) * DAY_US

    def previous_roll_us(self, at_us: int) -> int:
        return self.next_roll_us(at_us) - DAY_US


@dataclass
class Day:
    """Plays actions at the venue. `placed` are the client order ids that it took, `answers` what it said."""

    floor: Floor
    placed: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    _brings: str = "nothing"
    _cents: int = 10_000
    _count: int = 0
    _acts: dict[date, list[CorporateAction]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        session = session_of(date(2027, 1, 15))
        assert session is not None
        self.floor.market.hours.roll_us = session.close_us
        self.roll = DayRoll(
            self.floor.db, self.floor.market.hours, self.floor.desk, self._close, self._actions
        )

    async def open(self) -> None:
        """The first quotes, and a roll that knows nothing of the days before."""
        self._show(Move(10_000))
        await self.roll.run(self.floor.held, self.floor.market.clock.us)

    async def ask(self, action: Action) -> bool:
        """The part of an action that the venue answers, before it looks; whether it said yes."""
        # No two calls come in the same microsecond.
        self.floor.market.clock.us += 1
        try:
            match action:
                case Move():
                    self._show(action)
                case Wait():
                    self.floor.market.clock.us += action.ms * 1000
                case DayEnds():
                    self._brings = action.brings
                    hours = self.floor.market.hours
                    self.floor.market.clock.us = hours.next_roll_us(self.floor.market.clock.us) + 1000
                case Cancel():
                    if action.back <= len(self.placed):
                        await self.floor.cancel("me", self.placed[-action.back])
                case Replace():
                    if action.back <= len(self.placed):
                        await self._replace(action)
                case _:
                    await self._place(self._order(action))
        except BrokerRejected as refused:
            self.answers.append(refused.code)
            return False
        self.answers.append("yes")
        return True

    async def look(self, action: Action) -> None:
        """The venue looks once, and at the end of a day it rolls."""
        await self.floor.look()
        if isinstance(action, DayEnds):
            await self.roll.run(self.floor.held, self.floor.market.clock.us)
            # What the roll has brought is looked at as everything else.
            await self.floor.look()

    def _show(self, move: Move) -> None:
        self._cents = move.cents
        bid = move.cents * CENT
        self.floor.show(str(bid), str(bid + move.spread * CENT), move.size)
        for symbol in OPTIONS:
            contract = find_contract(symbol)
            assert contract is not None
            worth = contract.intrinsic(bid) + (2 if symbol.startswith("AAPL2703") else Decimal("0.5"))
            nickels = (worth * 20).to_integral_value() / 20
            self.floor.show(
                str(nickels - Decimal("0.05")), str(nickels + Decimal("0.05")), move.contracts, symbol
            )

    async def _place(self, one: BrokerOrder) -> None:
        await self.floor.submit(one)
        view = await self.floor.view(one.client_order_id)
        self.placed += [one.client_order_id, *(str(leg.client_order_id) for leg in view.legs)]

    async def _replace(self, action: Replace) -> None:
        old = await self.floor.view(self.placed[-action.back])
        change: dict[str, Any] = {"qty": None if action.qty is None else Decimal(action.qty)}
        for name in ("limit_price", "stop_price", "trail_price"):
            there = getattr(old, name)
            if there is not None and action.off and not (name == "stop_price" and old.hwm is not None):
                change[name] = there + action.off * CENT
        self._count += 1
        new = await self.floor.replace(self.placed[-action.back], f"r{self._count}", **change)
        gone = await self.floor.view(self.placed[-action.back])
        assert old.qty is not None
        total = old.qty if change["qty"] is None else change["qty"]
        assert new.qty == total - gone.filled_qty, "quantity lost or made up by a replacement"
        assert (gone.status.value, gone.filled_qty) == ("REPLACED", old.filled_qty), "the old one goes on"
        self.placed += [f"r{self._count}", *(str(leg.client_order_id) for leg in new.legs if old.legs)]

    async def _close(self, symbol: str, roll_us: int) -> Decimal | None:
        return self._cents * CENT

    async def _actions(self, symbols: Sequence[str], ex_date: date) -> Sequence[CorporateAction]:
        if ex_date not in self._acts:
            self._acts[ex_date] = {
                "nothing": [],
                "dividend": [CorporateAction("AAPL", ex_date, "dividend", Decimal("0.37"))],
                "split": [CorporateAction("AAPL", ex_date, "split", ratio=Decimal(3))],
                "reverse split": [CorporateAction("AAPL", ex_date, "split", ratio=Decimal("0.1"))],
            }[self._brings]
        return [one for one in self._acts[ex_date] if one.symbol in symbols]

    def _order(self, action: Ask | Spread | Option) -> BrokerOrder:
        self._count += 1
        name = f"o{self._count}"
        if isinstance(action, Spread):
            net = None if action.cents is None else str(action.cents * CENT)
            return spread(name, SPREADS[action.which], net, action.qty)
        if isinstance(action, Option):
            quote = self.floor.market.quotes[OPTIONS[action.which]]
            near = quote.ask if action.side == "buy" else quote.bid
            price = None if action.off is None else str(max(CENT * 5, near + action.off * 5 * CENT))
            return order(name, action.side, action.qty, price, symbol=OPTIONS[action.which])
        return self._stock(action, name)

    def _stock(self, ask: Ask, name: str) -> BrokerOrder:
        way = 1 if ask.side == "buy" else -1
        near, beyond = self._cents + ask.off, self._cents + way * ask.more
        fields: dict[str, Any] = {"time_in_force": ask.tif, "limit_price": None, "type": "limit"}
        match ask.kind:
            case "limit":
                fields |= {"limit_price": near * CENT}
            case "stop":
                fields |= {"type": "stop", "stop_price": (beyond + way * 15) * CENT}
            case "stop_limit":
                stop = beyond + way * 15
                fields |= {
                    "type": "stop_limit",
                    "stop_price": stop * CENT,
                    "limit_price": (stop + ask.off) * CENT,
                }
            case "trail_price" | "trail_percent":
                fields |= {"type": "trailing_stop", ask.kind: ask.more * CENT}
            case "parts":
                fields |= {
                    "limit_price": near * CENT,
                    "qty": Decimal(ask.qty) / 7 // CENT * CENT,
                    "time_in_force": "day",
                }
            case "dollars":
                fields |= {
                    "type": "market",
                    "qty": None,
                    "notional": Decimal(ask.qty) * 10,
                    "time_in_force": "day",
                }
            case "market":
                fields |= {"type": "market"}
            case _:
                fields |= self._group(ask)
        return replace(order(name, ask.side, ask.qty), **fields)

    def _group(self, ask: Ask) -> dict[str, Any]:
        """Entry at the market's price or a little off it, exits on both sides of that."""
        way = 1 if ask.side == "buy" else -1
        entry = self._cents + ask.off
        fields: dict[str, Any] = {"limit_price": entry * CENT, "time_in_force": "gtc"}
        if ask.kind == "oco":
            # An oco is the exit itself.
            loss = StopLoss((self._cents + way * ask.more) * CENT)
            return fields | {
                "order_class": "oco",
                "limit_price": (self._cents - way * ask.more) * CENT,
                "stop_loss": loss,
            }
        profit = TakeProfit((entry + way * ask.more) * CENT)
        loss = StopLoss((entry - way * ask.more) * CENT)
        if ask.kind == "bracket_trail":
            loss = StopLoss(trail_price=ask.more * CENT)
        if ask.kind == "oto":
            exits = {"take_profit": profit} if ask.more % 2 else {"stop_loss": loss}
            return fields | {"order_class": "oto"} | exits
        return fields | {"order_class": "bracket", "take_profit": profit, "stop_loss": loss}
