from pathlib import Path

from paiid.core.clock import SystemClock
from paiid.feeds.failover import FailoverFeed
from tests.feed_world import alpaca_on, feed_world, tradier_on


async def test_S5_a_source_that_is_late_says_so_when_it_takes_over(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    clock = SystemClock()
    async with (
        tradier_on(tmp_path / "tradier", template, sandbox=True) as tradier,
        alpaca_on(tmp_path / "alpaca", template) as alpaca,
    ):
        feeds = [alpaca.feed(clock), tradier.feed(clock, sandbox=True)]
        # A connection that takes long at first may cost the preferred one its place, and it is soon gone back to; once it refuses
        # everything it is not well for any time at all.
        feed = FailoverFeed(clock, feeds, lost_s=0.3, recovery_s=1.0, look_s=0.03)
        async with (
            feed_world(sqlite_url, tmp_path / "data", feed=feed, clock=clock) as world,
            world.watching("AAPL") as watcher,
        ):
            first = await watcher.quote("AAPL", lambda one: one["source"] == "alpaca")
            assert first["delayed"] is False
            alpaca.fault("refuse_before", on="data", rate=1)
            alpaca.fault("connection_limit", rate=1)
            alpaca.fault("disconnect", on="ticks", rate=1)
            quote = await watcher.quote("AAPL", lambda one: one["source"] == "tradier")
            assert (await world.rest_quote("AAPL"))["delayed"] is True
            assert quote["delayed"] is True
