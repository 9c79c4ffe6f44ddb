"""docs/paper.md is the specification: every rule has one worked example, and every example comes out as written."""

import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.brokers import BrokerOrder, BrokerRejected, OutcomeUnknown
from paiid.brokers.paper.fills import Round
from paiid.brokers.paper.records import PaperOrder
from paiid.core.db import Database
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import ZERO, round_money
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms
from tests.paper_world import START_US, Market, PureVenue, RealVenue, World, holding_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "paper.md"

_HEADING = re.compile(r"^## (P\d+)\. (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```paper\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GROUP_BLOCK = re.compile(r"^```paper-groups\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SYMBOL = r"(?:[A-Z]+\d{6}[CP]\d{8}|[A-Z]+)"
_QUOTE = re.compile(
    rf"quote (?:#(?P<number>\d+) )?(?:(?P<symbol>{_SYMBOL}) )?"
    r"(?P<bid>[\d.]+) x (?P<bid_size>\d+)"
    r" / (?P<ask>[\d.]+) x (?P<ask_size>\d+)(?P<stale> stale)?"
)
_ORDER = re.compile(
    r"(?:(?P<account>[a-z]+)\.)?(?P<name>[A-Z]) (?P<side>buy|sell)(?P<intent>_to_open|_to_close)?"
    rf" (?P<dollars>\$)?(?P<qty>[\d.]+)(?: (?P<symbol>{_SYMBOL}))?"
    r" (?P<type>market|limit|stop|stop_limit|trailing_stop)(?: (?P<price>[\d.]+))?(?P<percent>%)?"
    r"(?: (?P<limit>[\d.]+))? (?P<tif>day|gtc|ioc|fok|opg|cls)(?P<extended> extended)?"
    r"(?: -> (?:refused (?P<refused>\w+)|(?P<duplicate>duplicate)))?"
)
_CANCEL = re.compile(r"cancel (?P<name>[A-Z])(?: -> refused (?P<refused>\w+))?")
_IS = re.compile(
    r"(?P<name>[A-Z]) is (?P<status>[A-Z_]+)(?: (?P<qty>[\d.]+) @ (?P<price>[\d.]+))?(?: because (?P<reason>\w+))?"
)
_CASH = re.compile(r"cash (?P<value>[\d.-]+)")
_POWER = re.compile(r"buying power (?P<value>[\d.-]+)")
_OPTIONS_POWER = re.compile(r"options buying power (?P<value>[\d.-]+)")
_OF = re.compile(r"(?P<what>fees|stop) of (?P<name>[A-Z]) (?P<value>[\d.]+)")
_HOLDS = re.compile(rf"holds (?P<qty>-?[\d.]+) (?P<symbol>{_SYMBOL})(?: at (?P<price>[\d.]+))?")
_TERMS = re.compile(
    r"0 +account(?P<plain> plain)?(?P<cash> cash)?(?: with (?P<dollars>\d+))?(?: level (?P<level>\d))?"
    r"(?: improvement (?P<improvement>\d+)%)?"
)


@dataclass(frozen=True)
class Rule:
    number: str
    title: str
    examples: tuple[str, ...]
    grouped: tuple[str, ...] = ()
    """Examples of what ties orders together: `test_paper_document_groups.py` runs them."""


def read_rules(text: str) -> list[Rule]:
    headings = list(_HEADING.finditer(text))
    ends = [found.start() for found in headings[1:]] + [len(text)]
    return [
        Rule(
            found[1],
            found[2],
            tuple(_BLOCK.findall(text[found.end() : end])),
            tuple(_GROUP_BLOCK.findall(text[found.end() : end])),
        )
        for found, end in zip(headings, ends, strict=True)
    ]


RULES = read_rules(DOCUMENT.read_text(encoding="utf-8"))
SINGLE = [rule for rule in RULES if not rule.grouped]


def terms_of(text: str) -> AccountTerms:
    """The terms on which the accounts of an example trade: its first line says so, or they are what users get."""
    found = _TERMS.fullmatch(text.strip().partition("\n")[0])
    if found is None:
        return DEFAULT_TERMS
    terms = PLAIN if found["plain"] else DEFAULT_TERMS
    return replace(
        terms,
        margin=terms.margin and not found["cash"],
        starting_cash=Decimal(found["dollars"] or 100_000),
        options_level=int(found["level"] or 3),
        price_improvement_pct=Decimal(found["improvement"] or 0),
    )


class Example:
    """Runs the lines of one example."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.market = world.market
        self.account_of: dict[str, str] = {}

    async def run(self, text: str) -> None:
        checks = 0
        for line in text.strip().splitlines():
            at, _, words = line.partition(" ")
            self.market.clock.us = START_US + int(at) * 1000
            # What became due before this line has its turn before it; what the line does is looked at after it.
            await self.world.look()
            if not await self._act(words.strip()):
                await self._check(words.strip(), line)
                checks += 1
            elif " -> " in words:
                checks += 1
            await self.world.look()
        assert checks, "an example must expect something"

    async def _act(self, words: str) -> bool:
        if found := _QUOTE.fullmatch(words):
            self.market.show(
                found["symbol"] or "AAPL",
                Decimal(found["bid"]),
                Decimal(found["bid_size"]),
                Decimal(found["ask"]),
                Decimal(found["ask_size"]),
                stale=found["stale"] is not None,
                number=int(found["number"]) if found["number"] else None,
            )
        elif found := _ORDER.fullmatch(words):
            await self._submit(found)
        elif found := _CANCEL.fullmatch(words):
            account = self.account_of[found["name"]]
            await self._expect(self.world.cancel(account, found["name"]), found["refused"])
        elif words in {"market closes", "market opens"}:
            self.market.hours.open = words.endswith("opens")
        elif words in {"extended hours begin", "extended hours end"}:
            self.market.hours.extended = words.endswith("begin")
        elif words == "hours never close":
            self.market.hours.never_closes = True
        elif found := re.fullmatch(r"day ends at (\d+)", words):
            self.market.hours.roll_us = START_US + int(found[1]) * 1000
        elif found := re.fullmatch(r"extended day ends at (\d+)", words):
            self.market.hours.extended_roll_us = START_US + int(found[1]) * 1000
        elif found := re.fullmatch(r"session from (\d+) to (\d+)", words):
            opens, closes = (START_US + int(found[n]) * 1000 for n in (1, 2))
            self.market.hours.session_us = (opens, closes)
            self.market.hours.roll_us = closes
        else:
            return words == "" or words.startswith("account")
        return True

    async def _submit(self, found: re.Match[str]) -> None:
        account, type = found["account"] or "me", found["type"]
        price, second, size = (Decimal(found[n]) if found[n] else None for n in ("price", "limit", "qty"))
        trails = type == "trailing_stop"
        order = BrokerOrder(
            account_number=account,
            client_order_id=found["name"],
            symbol=found["symbol"] or "AAPL",
            side=found["side"],
            qty=None if found["dollars"] else size,
            type=type,
            time_in_force=found["tif"],
            limit_price=price if type == "limit" else second,
            stop_price=price if type in ("stop", "stop_limit") else None,
            notional=size if found["dollars"] else None,
            trail_price=price if trails and not found["percent"] else None,
            trail_percent=price if trails and found["percent"] else None,
            extended_hours=found["extended"] is not None,
            position_intent=found["side"] + found["intent"] if found["intent"] else None,
        )
        if found["duplicate"]:
            with pytest.raises(OutcomeUnknown, match="must be unique"):
                await self.world.submit(order)
            return
        await self._expect(self.world.submit(order), found["refused"])
        self.account_of[found["name"]] = account

    @staticmethod
    async def _expect(call: Coroutine[Any, Any, None], refused: str | None) -> None:
        if refused is None:
            await call
            return
        with pytest.raises(BrokerRejected) as caught:
            await call
        assert caught.value.code == refused

    async def _check(self, words: str, line: str) -> None:
        if found := _IS.fullmatch(words):
            told = await self.world.order(self.account_of[found["name"]], found["name"])
            assert told.status == found["status"], line
            assert told.filled_qty == Decimal(found["qty"] or 0), line
            if found["qty"]:
                assert round_money(told.filled_value / told.filled_qty) == Decimal(found["price"]), line
            assert told.reason == found["reason"], line
            return
        if found := _OF.fullmatch(words):
            told = await self.world.order(self.account_of[found["name"]], found["name"])
            assert (told.fees if found["what"] == "fees" else told.stop_price) == Decimal(found["value"]), (
                line
            )
            return
        book = await self.world.account("me")
        if found := _CASH.fullmatch(words):
            assert book.cash == Decimal(found["value"]), line
        elif found := _POWER.fullmatch(words):
            assert book.buying_power() == Decimal(found["value"]), line
        elif found := _OPTIONS_POWER.fullmatch(words):
            assert book.excess() == Decimal(found["value"]), line
        elif found := _HOLDS.fullmatch(words):
            holding = holding_of(book, found["symbol"])
            assert holding.qty == Decimal(found["qty"]), line
            if found["price"]:
                multiplier = multiplier_of(found["symbol"])
                assert holding.avg_entry_price(multiplier) == Decimal(found["price"]), line
            if holding.qty == ZERO:
                assert holding.cost_basis == ZERO, line
        else:
            pytest.fail(f"this line says nothing that can be run: {line}")


def test_the_rules_are_numbered_without_a_hole() -> None:
    assert [rule.number for rule in RULES] == [f"P{n}" for n in range(1, len(RULES) + 1)]
    assert len(RULES) >= 25


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.number)
def test_each_rule_has_exactly_one_example(rule: Rule) -> None:
    assert len(rule.examples) + len(rule.grouped) == 1, rule.title


def test_a_rule_without_an_example_is_noticed() -> None:
    found = read_rules("## P1. One\n\ntext\n\n## P2. Two\n\n```paper\n0 cash 1\n```\n")
    assert [len(rule.examples) for rule in found] == [0, 1]


@pytest.mark.parametrize("rule", SINGLE, ids=lambda rule: rule.number)
async def test_each_example_comes_out_by_the_pure_rules(rule: Rule) -> None:
    await Example(PureVenue(Market(), terms_of(rule.examples[0]))).run(rule.examples[0])


@pytest.mark.parametrize("rule", SINGLE, ids=lambda rule: rule.number)
async def test_each_example_comes_out_by_the_real_books(rule: Rule, db: Database) -> None:
    await Example(await RealVenue.open(Market(), db, terms_of(rule.examples[0]))).run(rule.examples[0])


TRIGGERED = """
0    quote #7 99.90 x 300 / 100.00 x 300
0    A buy 50 market day
20   B sell 50 stop 95.00 gtc
100  quote #9 94.80 x 0 / 95.00 x 300
100  B is NEW
110  quote #8 94.90 x 300 / 95.00 x 300
110  B is NEW
200  quote #10 94.70 x 300 / 94.80 x 300
200  B is FILLED 50 @ 94.70
"""


async def test_a_stop_does_not_fill_on_a_quote_older_than_the_one_that_triggered_it(db: Database) -> None:
    await Example(PureVenue(Market())).run(TRIGGERED)
    await Example(await RealVenue.open(Market(), db)).run(TRIGGERED)


class ForgetsWhoWaits(RealVenue):
    def _keep(self, candidates: Sequence[PaperOrder], done: Round) -> None:
        self.book.keep(candidates, done.orders)


async def test_the_last_example_fails_where_a_waiting_order_is_not_looked_at_again(db: Database) -> None:
    with pytest.raises(AssertionError):
        await Example(await ForgetsWhoWaits.open(Market(), db)).run(RULES[24].examples[0])


@pytest.mark.parametrize("wrong", ["0 cash 99999", "0 holds 1 AAPL", "0 buying power 1", "0 tea is ready"])
async def test_an_example_that_is_wrong_fails(wrong: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await Example(PureVenue(Market())).run(wrong)
