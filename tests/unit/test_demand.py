"""Who wants which symbols: subscribers counted, questions remembered a while, other replicas believed a few seconds."""

import pytest

from paiid.market.demand import MOST_TOUCHED, TOUCH_S, Demand
from paiid.market.ticks import Wanted
from paiid.market.wanted import GOOD_FOR_S, MOST_REPLICAS, WantedEverywhere
from tests.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def demand(clock: FakeClock) -> Demand:
    return Demand(clock)


@pytest.fixture
def wanted(clock: FakeClock, demand: Demand) -> WantedEverywhere:
    return WantedEverywhere(clock, demand)


def word(replica: str, *subscribed: str, asked: tuple[str, ...] = (), **sockets: int) -> Wanted:
    return Wanted(replica, 0, False, list(subscribed), list(asked), sockets)


def test_a_symbol_is_wanted_until_its_last_subscriber_goes(demand: Demand) -> None:
    told: list[int] = []
    demand.on_change(lambda: told.append(1))
    demand.add(["AAPL", "SPY"])
    demand.add(["AAPL"])
    assert demand.subscribed() == ["AAPL", "SPY"]
    assert len(told) == 1
    demand.drop(["AAPL", "SPY"])
    assert demand.subscribed() == ["AAPL"]
    demand.drop(["AAPL"])
    assert demand.subscribed() == []
    assert len(told) == 3


def test_what_was_asked_for_is_wanted_for_a_minute_the_latest_first(demand: Demand, clock: FakeClock) -> None:
    told: list[int] = []
    demand.on_change(lambda: told.append(1))
    demand.touch("AAPL")
    clock.advance(TOUCH_S / 2)
    demand.touch("SPY")
    assert demand.asked() == ["SPY", "AAPL"]
    clock.advance(TOUCH_S / 2 + 1)
    assert demand.asked() == ["SPY"]
    demand.touch("SPY")
    assert len(told) == 2, "asked again, it is no news"
    demand.add(["SPY"])
    assert demand.asked() == [], "a subscriber says more"


def test_what_was_asked_for_is_bounded(demand: Demand) -> None:
    for n in range(MOST_TOUCHED + 10):
        demand.touch(f"S{n}")
    assert len(demand.asked()) == MOST_TOUCHED
    assert "S9" not in demand.asked()


def test_the_demand_of_all_is_united_subscribers_before_questions(
    demand: Demand, wanted: WantedEverywhere
) -> None:
    demand.add(["AAPL"])
    demand.touch("F")
    assert wanted.hear(word("b", "SPY", "AAPL", asked=("TLT",)))
    assert not wanted.hear(word("b", "SPY", "AAPL", asked=("TLT",))), "the same again is no news"
    assert wanted.union(100).streamed == ("AAPL", "SPY", "F", "TLT")
    assert wanted.union(3).streamed == ("AAPL", "SPY", "F")
    assert wanted.union(3).polled == ("TLT",)
    assert wanted.union(0).polled == ("AAPL", "SPY", "F", "TLT")


def test_at_the_bound_what_is_streamed_already_stays(demand: Demand, wanted: WantedEverywhere) -> None:
    demand.add(["A", "B", "C"])
    demand.touch("D")
    assert wanted.union(2, {"C", "B"}).streamed == ("B", "C")
    assert wanted.union(3, {"D"}).streamed == ("A", "B", "C"), "but not before a subscriber"


def test_a_replica_that_is_silent_is_gone_with_its_demand_and_its_sockets(
    clock: FakeClock, wanted: WantedEverywhere
) -> None:
    wanted.hear(word("b", "SPY", ann=2))
    wanted.hear(word("c", "TLT", ann=3, bob=1))
    assert wanted.sockets("ann") == 5
    clock.advance(GOOD_FOR_S - 1)
    wanted.hear(word("c", "TLT", ann=3, bob=1))
    clock.advance(2)
    assert wanted.union(10).all == ("TLT",)
    assert wanted.sockets("ann") == 3
    assert wanted.sockets("zoe") == 0


def test_strangers_cannot_fill_the_memory(wanted: WantedEverywhere) -> None:
    for n in range(10 * MOST_REPLICAS):
        wanted.hear(word(f"r{n}", "SPY"))
    assert wanted.replicas == MOST_REPLICAS
