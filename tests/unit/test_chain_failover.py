"""Chains and dividends through the failover: asked of the next provider where one is silent."""

from datetime import date
from decimal import Decimal

import pytest

from paiid.domain.corporate import CorporateAction
from paiid.feeds import FeedUnavailable
from paiid.feeds.failover import FailoverFeed
from tests.fake_clock import FakeClock
from tests.market_world import FakeFeed

CONTRACT = "AAPL261218C00010000"


async def test_a_provider_that_is_silent_costs_neither_the_chain_nor_the_dividends() -> None:
    first, second = FakeFeed("AAPL"), FakeFeed("AAPL")
    first.source, second.source = "first", "second"
    for feed, bid, paid in ((first, "1.00", "0.10"), (second, "2.00", "0.20")):
        feed.list_contracts(CONTRACT)
        feed.set(CONTRACT, bid, "3.00")
        feed.actions = [CorporateAction("AAPL", date(2026, 12, 1), "dividend", Decimal(paid))]

    async def bid(failover: FailoverFeed) -> str:
        [row] = await failover.fetch_chain("AAPL", date.min, date.max)
        assert row.quote is not None
        return str(row.quote.bid)

    async def amount(failover: FailoverFeed) -> str:
        [dividend] = await failover.fetch_dividends("AAPL", date.min, date.max)
        return str(dividend.amount)

    for ask, preferred, other in ((bid, "1.00", "2.00"), (amount, "0.10", "0.20")):
        first.down = second.down = None
        failover = FailoverFeed(FakeClock(), [first, second])
        assert await ask(failover) == preferred
        first.down = "no answer"
        assert await ask(failover) == other
        second.down = "nothing either"
        with pytest.raises(FeedUnavailable):
            await ask(failover)
