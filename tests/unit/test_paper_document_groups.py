"""The rules of docs/paper.md about orders that hang together, replacements and day rolls, by the venue's real books."""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder
from paiid.brokers.paper.roll import DayRoll
from paiid.core.db import Database
from paiid.domain.calendar import eastern_date
from paiid.domain.corporate import CorporateAction
from paiid.domain.money import round_money
from paiid.domain.orders import Leg, StopLoss, TakeProfit
from tests.paper_floor import Floor, order
from tests.paper_world import START_US, Market
from tests.unit.test_paper_document import RULES, Example, Rule, terms_of

DAY_US = 86_400_000_000
GROUPED = [rule for rule in RULES if rule.grouped]
_NAME = r"[A-Z](?:\.(?:tp|sl|leg\d))?"
_PRICE = r"-?[\d.]+"
_REFUSED = r"(?: -> refused (?P<refused>\w+))?"
_GROUP = re.compile(
    rf"(?P<name>[A-Z]) (?P<side>buy|sell) (?P<qty>\d+) (?P<type>market|limit)(?: (?P<price>{_PRICE}))? (?P<tif>day|gtc)"
    rf" with(?: profit (?P<profit>{_PRICE}))?(?: and)?(?: stop (?P<stop>{_PRICE}))?(?: trail (?P<trail>{_PRICE}))?"
    + _REFUSED
)
_OCO = re.compile(
    rf"(?P<name>[A-Z]) (?P<side>buy|sell) (?P<qty>\d+) oco (?P<profit>{_PRICE}) / (?P<stop>{_PRICE}) (?P<tif>day|gtc)"
    + _REFUSED
)
_SPREAD = re.compile(
    rf"(?P<name>[A-Z]) spread (?P<qty>\d+) (?P<legs>.+?) (?:limit (?P<limit>{_PRICE})|market) (?P<tif>day|gtc)"
    + _REFUSED
)
_LEG = re.compile(r"(?P<close>close )?(?P<side>buy|sell) (?P<ratio>\d+ x )?(?P<symbol>\S+)")
_REPLACE = re.compile(
    rf"replace (?P<name>{_NAME}) by (?P<new>[A-Z])(?: qty (?P<qty>\d+))?(?: limit (?P<limit>{_PRICE}))?"
    rf"(?: qty (?P<qty2>\d+))?" + _REFUSED
)
_CANCEL = re.compile(rf"cancel (?P<name>{_NAME})" + _REFUSED)
_IS = re.compile(
    rf"(?P<name>{_NAME}) is (?P<status>[A-Z_]+)(?: (?P<qty>[\d.]+) @ (?P<price>{_PRICE}))?(?: because (?P<reason>\w+))?"
)
_STOP = re.compile(rf"stop of (?P<name>{_NAME}) (?P<value>[\d.]+)")
_MARKET = re.compile(r"(?P<symbol>[A-Z]+) (?P<what>closes at|pays|splits) (?P<value>[\d.]+)")


class RollingFloor(Floor):
    """A floor that looks at the end of each day, too."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        # The first look books nothing: it is of the day before.
        self.market.hours.roll_us = START_US + DAY_US
        market = self.market
        self.roll = DayRoll(self.db, market.hours, self.desk, market.close_of, market.actions_of)

    async def look(self) -> None:
        await super().look()
        if self.roll.is_due(self.market.clock.us):
            await self.roll.run(self.held, self.market.clock.us)


class GroupExample(Example):
    """The language of the document, with what ties orders together."""

    world: RollingFloor

    async def _act(self, words: str) -> bool:
        if found := _GROUP.fullmatch(words):
            await self._expect(self.world.submit(_grouped(found)), found["refused"])
        elif found := _OCO.fullmatch(words):
            one = order(
                found["name"],
                self._side(found),
                int(found["qty"]),
                found["profit"],
                time_in_force=found["tif"],
            )
            one = replace(one, order_class="oco", stop_loss=StopLoss(Decimal(found["stop"])))
            await self._expect(self.world.submit(one), found["refused"])
        elif found := _SPREAD.fullmatch(words):
            await self._expect(self.world.submit(_spread(found)), found["refused"])
        elif found := _REPLACE.fullmatch(words):
            await self._expect(self._replace(found), found["refused"])
        elif found := _CANCEL.fullmatch(words):
            await self._expect(self.world.cancel("me", found["name"]), found["refused"])
        elif found := _MARKET.fullmatch(words):
            self._tell(found["symbol"], found["what"], Decimal(found["value"]))
        else:
            return await super()._act(words)
        return True

    @staticmethod
    def _side(found: re.Match[str]) -> Any:
        return found["side"]

    async def _replace(self, found: re.Match[str]) -> None:
        qty = found["qty"] or found["qty2"]
        await self.world.replace(
            found["name"],
            found["new"],
            qty=Decimal(qty) if qty else None,
            limit_price=Decimal(found["limit"]) if found["limit"] else None,
        )

    def _tell(self, symbol: str, what: str, value: Decimal) -> None:
        if what == "closes at":
            self.market.closes[symbol] = value
            return
        ex_date = eastern_date(self.market.hours.roll_us + DAY_US)
        action = (
            CorporateAction(symbol, ex_date, "dividend", value)
            if what == "pays"
            else CorporateAction(symbol, ex_date, "split", ratio=value)
        )
        self.market.actions.append(action)

    async def _check(self, words: str, line: str) -> None:
        if found := _IS.fullmatch(words):
            told = await self.world.order("me", found["name"])
            assert told.status == found["status"], line
            assert told.filled_qty == Decimal(found["qty"] or 0), line
            if found["qty"]:
                assert round_money(told.filled_value / told.filled_qty) == Decimal(found["price"]), line
            assert told.reason == found["reason"], line
        elif found := _STOP.fullmatch(words):
            assert (await self.world.order("me", found["name"])).stop_price == Decimal(found["value"]), line
        else:
            await super()._check(words, line)


def _grouped(found: re.Match[str]) -> BrokerOrder:
    side: Any = found["side"]
    one = order(found["name"], side, int(found["qty"]), found["price"], time_in_force=found["tif"])
    profit = TakeProfit(Decimal(found["profit"])) if found["profit"] else None
    loss = None
    if found["stop"]:
        loss = StopLoss(Decimal(found["stop"]))
    elif found["trail"]:
        loss = StopLoss(trail_price=Decimal(found["trail"]))
    both = profit is not None and loss is not None
    return replace(one, order_class="bracket" if both else "oto", take_profit=profit, stop_loss=loss)


def _spread(found: re.Match[str]) -> BrokerOrder:
    legs = []
    for leg in _LEG.finditer(found["legs"]):
        side: Any = leg["side"]
        intent: Any = f"{side}_to_{'close' if leg['close'] else 'open'}"
        ratio = int(leg["ratio"].split()[0]) if leg["ratio"] else 1
        legs.append(Leg(leg["symbol"], side, ratio, intent))
    one = order(found["name"], "buy", int(found["qty"]), found["limit"], time_in_force=found["tif"])
    return replace(one, order_class="mleg", legs=tuple(legs))


async def played(text: str, db: Database) -> RollingFloor:
    """The example, played to its end."""
    world = await RollingFloor.open(Market(), db, terms_of(text))
    assert isinstance(world, RollingFloor)
    await GroupExample(world).run(text)
    return world


@pytest.mark.parametrize("rule", GROUPED, ids=lambda rule: rule.number)
async def test_each_example_comes_out_by_the_real_books(rule: Rule, db: Database) -> None:
    world = await played(rule.grouped[0], db)
    await world.audit()


@pytest.mark.parametrize(
    "wrong",
    ["0 A.tp is NEW", "0 cash 1", "0 A spread and butter", "0 B buy 1 limit 9.00 gtc with nothing at all"],
)
async def test_an_example_that_is_wrong_fails(wrong: str, db: Database) -> None:
    bracket = "0 A buy 1 limit 99.00 gtc with profit 110.00 and stop 95.00"
    quote = "0 quote 99.90 x 300 / 100.00 x 300"
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await played("\n".join((quote, bracket, wrong)), db)


def test_there_are_rules_to_run() -> None:
    assert len(GROUPED) >= 19
