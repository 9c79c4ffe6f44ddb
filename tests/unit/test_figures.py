"""Figures are plain numbers with labels; the lag of the event loop is measured by the loop itself."""

import asyncio
import time

import pytest

from paiid.core.accounting import Accounting, template_of
from paiid.core.clock import SystemClock
from paiid.core.figures import Gauge, Histogram, Tally
from paiid.core.loop_lag import LoopLag


def test_a_tally_counts_by_labels_and_tells_what_it_expects_as_nothing_yet() -> None:
    tally = Tally("broker", "state").expect("paper", "UNKNOWN")
    tally.add("paper", "ACCEPTED")
    tally.add("paper", "ACCEPTED", n=2)
    assert dict(tally.items()) == {("paper", "UNKNOWN"): 0, ("paper", "ACCEPTED"): 3}
    tally.expect("paper", "ACCEPTED")
    assert tally.of("paper", "ACCEPTED") == 3, "what was counted stays"
    assert list(Tally().items()) == [((), 0.0)], "without labels there is one series from the start"
    assert list(Tally("what").items()) == []


def test_a_histogram_is_told_as_cumulative_buckets_whose_last_one_is_the_count() -> None:
    histogram = Histogram("stage", bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value, "send")
    ((labels, buckets, total),) = histogram.items()
    assert labels == ("send",)
    assert buckets == [("0.1", 2.0), ("1.0", 3.0), ("+Inf", 4.0)], "a bound belongs to its bucket"
    assert total == pytest.approx(7.65)


def test_a_gauge_is_read_when_it_is_asked_and_may_have_nothing_to_tell() -> None:
    there: list[float | None] = [None, 2.0]
    gauge = Gauge(lambda: there.pop(0))
    assert list(gauge.items()) == []
    assert list(gauge.items()) == [((), 2.0)]
    assert list(Gauge(lambda: [(("a",), 1.0)], "name").items()) == [(("a",), 1.0)]


def test_whatever_strangers_ask_for_adds_no_series() -> None:
    accounting = Accounting(SystemClock())
    for n in range(10_000):
        scope = {"type": "http", "method": f"M{n}", "path": f"/{n}"}
        accounting.count(scope, 404, 0.001)
    assert dict(accounting.requests.items()) == {("other", "unmatched", "4xx"): 10_000}
    assert [labels for labels, _, _ in accounting.seconds.items()] == [("other", "unmatched")]
    assert template_of({"path": "/secret"}) == "unmatched"
    assert template_of({"path": "/api/x", "paiid.route": "/api/x"}) == "/api/x"


def test_what_stays_open_is_counted_and_has_no_duration() -> None:
    accounting = Accounting(SystemClock())
    accounting.count({"type": "websocket", "path": "/api/ws"}, 101, None)
    assert dict(accounting.requests.items()) == {("WEBSOCKET", "unmatched", "1xx"): 1}
    assert list(accounting.seconds.items()) == []


async def test_a_loop_that_is_blocked_is_seen_at_once_and_in_what_is_kept() -> None:
    lag = LoopLag(every_s=0.005)
    assert lag.worst_s == 0.0, "nothing is known before it begins"
    await lag.start()
    try:
        time.sleep(0.06)
        assert lag.worst_s >= 0.05, "what is overdue now counts already"
        async with asyncio.timeout(5):
            while not list(lag.seconds.items()):
                await asyncio.sleep(0.001)
        assert lag.worst_s >= 0.05
        ((_, buckets, total),) = lag.seconds.items()
        assert total >= 0.05
        assert buckets[-1][1] - dict(buckets)["0.05"] >= 1
    finally:
        await lag.stop()
    measured = list(lag.seconds.items())
    await asyncio.sleep(0.02)
    assert list(lag.seconds.items()) == measured, "it has ended"
