"""Whatever the orders, quotes and days: the paper venue's books balance and no rule is broken."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from paiid.brokers.paper.fills import Round
from paiid.brokers.paper.records import PaperOrder
from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import Step, Taken, Working
from paiid.domain.paper_account import PaperAccount
from paiid.domain.quotes import Quote
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms
from tests.paper_days import ACCOUNTS, SYMBOLS, Action, days, provoking
from tests.paper_referee import Day, JudgedVenue, play_judged, run
from tests.paper_world import Market, PureOrder, PureVenue, RealVenue, holding_of

# A failure is told as it was found: to make it small takes longer than a test may.
BOUNDED = settings(
    phases=[Phase.generate],
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

# A planted bug ends the search that meets it: there are as many examples as the unluckiest search may need.
PATIENT = settings(BOUNDED, max_examples=1_000)


@pytest.mark.parametrize("terms", [DEFAULT_TERMS, PLAIN], ids=["margin and costs", "plain"])
def test_the_books_balance_and_every_rule_holds_after_any_sequence(terms: AccountTerms) -> None:
    @BOUNDED
    @given(days)
    def play(actions: list[Action]) -> None:
        run(play_judged(actions, JudgedVenue(Market(), terms)))

    play()


class ForgetsWhatWasTaken(JudgedVenue):
    def _take(self, taken: Taken, working: Working, qty: Decimal) -> None:
        """Nothing is remembered."""


class FillsMoreThanIsShown(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        step = super()._decide(working, quote, taken, terms)
        if ZERO < step.qty < working.left and step.ends is None:
            return replace(step, qty=working.left, ends=OrderStatus.FILLED)
        return step


class FillsAtTheMiddle(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        step = super()._decide(working, quote, taken, terms)
        return replace(step, price=quote.mid) if step.qty > 0 and quote is not None else step


class FillsTheLimitOrderAsIfItHadNone(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return super()._decide(replace(working, limit_price=None), quote, taken, terms)


class NeverAsksWhatItCosts(JudgedVenue):
    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        return step


class KeepsTheRestThatCannotBePaid(JudgedVenue):
    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        cut = super()._means(book, order, step)
        if cut.reason == "insufficient_buying_power" and cut.qty > 0 and cut.qty < order.working.left:
            return replace(cut, ends=None, reason=None)
        return cut


class TradesOnAnything(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        if quote is not None:
            quote = replace(quote, stale=False)
        return super()._decide(working, quote, taken, terms)


class KeepsDayOrders(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return super()._decide(replace(working, expires_at_us=None), quote, taken, terms)


class TradesAtOnce(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return super()._decide(replace(working, live_at_us=0), quote, taken, terms)


class ForgetsToRelease(JudgedVenue):
    def _settle(self, book: PaperAccount, order: PureOrder, step: Step) -> Decimal:
        if step.ends is not None and step.qty == 0:
            order.status, order.reason = step.ends, step.reason
            return ZERO
        return super()._settle(book, order, step)


class ForgetsTheFees(JudgedVenue):
    def _settle(self, book: PaperAccount, order: PureOrder, step: Step) -> Decimal:
        fee = super()._settle(book, order, step)
        order.fees -= fee
        return ZERO


class MovesNoPrice(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return super()._decide(working, quote, taken, replace(terms, impact=False))


class LetsTheTrailGoBack(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return super()._decide(replace(working, hwm=None), quote, taken, terms)


class SellsFractionsThatAreNotThere(JudgedVenue):
    def _means(self, book: PaperAccount, order: PureOrder, step: Step) -> Step:
        cut = super()._means(book, order, step)
        return step if cut.reason == "insufficient_qty" else cut


class TradesAllNight(JudgedVenue):
    def _decide(
        self, working: Working, quote: Quote | None, taken: Taken | None, terms: AccountTerms
    ) -> Step:
        return super()._decide(replace(working, extended_hours=True), quote, taken, terms)


@pytest.mark.parametrize(
    "planted",
    [
        ForgetsWhatWasTaken,
        FillsMoreThanIsShown,
        FillsAtTheMiddle,
        FillsTheLimitOrderAsIfItHadNone,
        NeverAsksWhatItCosts,
        KeepsTheRestThatCannotBePaid,
        TradesOnAnything,
        KeepsDayOrders,
        TradesAtOnce,
        ForgetsToRelease,
        ForgetsTheFees,
        MovesNoPrice,
        LetsTheTrailGoBack,
        SellsFractionsThatAreNotThere,
        TradesAllNight,
    ],
    ids=lambda planted: planted.__name__,
)
def test_the_referee_catches_each_planted_bug(planted: type[PureVenue]) -> None:
    @PATIENT
    @given(st.one_of(days, provoking))
    def play(actions: list[Action]) -> None:
        run(play_judged(actions, planted(Market(), DEFAULT_TERMS)))

    with pytest.raises(AssertionError):
        play()


async def _same_end(actions: list[Action], path: Path, venue: type[RealVenue] = RealVenue) -> None:
    database = make_database(f"sqlite:///{path}", SystemClock())
    await database.start()
    try:
        pure = Day(PureVenue(Market(), DEFAULT_TERMS))
        real = Day(await venue.open(Market(), database, DEFAULT_TERMS))
        for day in (pure, real):
            await day.open()
            for action in actions:
                await day.play(action)
        assert pure.answers == real.answers
        assert pure.placed == real.placed
        for account, name in pure.placed:
            assert await pure.world.order(account, name) == await real.world.order(account, name)
        for account in ACCOUNTS:
            ours, theirs = await pure.world.account(account), await real.world.account(account)
            assert (ours.cash, ours.open_orders) == (theirs.cash, theirs.open_orders)
            for symbol in SYMBOLS:
                assert holding_of(ours, symbol) == holding_of(theirs, symbol)
    finally:
        await database.stop()


def _copy(template: Path, tmp_path: Path) -> Path:
    path = tmp_path / "example.db"
    for old in tmp_path.glob("example.db*"):
        old.unlink()
    shutil.copy(template, path)
    return path


@settings(BOUNDED, max_examples=40)
@given(days)
def test_the_real_books_end_as_the_pure_rules_do(
    runner: asyncio.Runner, template: Path, tmp_path: Path, actions: list[Action]
) -> None:
    runner.run(_same_end(actions, _copy(template, tmp_path)))


class LooksAtEachOrderOnce(RealVenue):
    def _keep(self, candidates: Sequence[PaperOrder], done: Round) -> None:
        self.book.keep(candidates, {})


def test_real_books_that_go_another_way_are_told_apart(
    runner: asyncio.Runner, template: Path, tmp_path: Path
) -> None:
    @PATIENT
    @given(days)
    def play(actions: list[Action]) -> None:
        runner.run(_same_end(actions, _copy(template, tmp_path), LooksAtEachOrderOnce))

    with pytest.raises(AssertionError):
        play()
