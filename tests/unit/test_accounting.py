"""What the edge counts: exact while requests come and go, and bounded whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from paiid.core.accounting import Accounting
from paiid.core.limits import MAX_IN_FLIGHT, MAX_IN_FLIGHT_PER_ADDRESS
from tests.fake_clock import FakeClock


def served(accounting: Accounting, *durations_ms: float, status: int = 200) -> None:
    """Requests one after the other."""
    for took_ms in durations_ms:
        accounting.began("a")
        accounting.ended("a", status, took_ms)


def test_totals_count_every_request_and_only_our_own_errors() -> None:
    accounting = Accounting(FakeClock())
    for status in (200, 404, 429, 499, 500, 503):
        served(accounting, 1.0, status=status)
    assert (accounting.total, accounting.errors, accounting.in_flight) == (6, 2, 0)


def test_nothing_is_overloaded_until_one_more_than_the_limit() -> None:
    accounting = Accounting(FakeClock())
    for n in range(MAX_IN_FLIGHT):
        accounting.began(f"10.0.0.{n}")
        assert not accounting.is_overloaded(f"10.0.0.{n}")
    accounting.began("b")
    assert accounting.is_overloaded("b")
    accounting.ended("b", 503, 0.1)
    assert not accounting.is_overloaded("10.0.0.1")


def test_one_address_cannot_take_the_room_of_the_others() -> None:
    accounting = Accounting(FakeClock())
    for _ in range(MAX_IN_FLIGHT_PER_ADDRESS + 1):
        accounting.began("greedy")
    accounting.began("modest")
    assert accounting.is_overloaded("greedy")
    assert not accounting.is_overloaded("modest")


@given(st.lists(st.sampled_from("abc"), max_size=60), st.randoms(use_true_random=False))
def test_whoever_has_left_is_forgotten(addresses: list[str], random: object) -> None:
    accounting = Accounting(FakeClock())
    for address in addresses:
        accounting.began(address)
    assert accounting.in_flight == len(addresses)
    random.shuffle(addresses)  # type: ignore[attr-defined]
    for address in addresses:
        accounting.ended(address, 200, 1.0)
    assert accounting.in_flight == 0
    assert accounting._by_address == {}, "a flood of addresses must leave nothing behind"


def test_percentiles_and_the_mean_are_those_of_the_recent_durations() -> None:
    accounting = Accounting(FakeClock())
    assert (accounting.percentile_ms(0.99), accounting.average_ms()) == (0.0, 0.0)
    served(accounting, *[float(n) for n in range(1, 101)])
    assert accounting.percentile_ms(0.5) == 51.0
    assert accounting.percentile_ms(0.99) == 100.0
    assert accounting.percentile_ms(1.0) == 100.0
    assert accounting.average_ms() == 50.5


def test_old_durations_make_room_for_new_ones() -> None:
    accounting = Accounting(FakeClock())
    served(accounting, *[1000.0] * 5000)
    served(accounting, *[1.0] * 2048)
    assert accounting.percentile_ms(1.0) == 1.0
    assert accounting.total == 7048


def test_the_rate_is_that_of_the_last_whole_minute() -> None:
    clock = FakeClock()
    accounting = Accounting(clock)
    served(accounting, *[1.0] * 7)
    assert accounting.per_minute() == 7, "the first minute is all there is"
    clock.advance(60)
    served(accounting, *[1.0] * 3)
    assert accounting.per_minute() == 7
    clock.advance(60)
    assert accounting.per_minute() == 3
    clock.advance(180)
    assert accounting.per_minute() == 0, "nothing for a whole minute"
