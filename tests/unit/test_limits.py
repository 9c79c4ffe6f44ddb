"""The rate limiter: what it allows, what it says when it does not, and that it cannot be made to grow."""

import pytest

from paiid.core import limits
from paiid.core.limits import RateLimiter
from paiid.domain.errors import Code, Problem
from tests.fake_clock import FakeClock


def test_a_bucket_empties_says_so_in_headers_and_refills() -> None:
    clock = FakeClock()
    limiter = RateLimiter(clock)
    for _ in range(5):
        limiter.take("login", "a", per_minute=60, burst=5)
    with pytest.raises(Problem) as caught:
        limiter.take("login", "a", per_minute=60, burst=5)
    assert caught.value.code is Code.RATE_LIMITED
    assert caught.value.headers["Retry-After"] == "1"
    assert caught.value.headers["RateLimit-Limit"] == "5"
    assert caught.value.headers["RateLimit-Remaining"] == "0"
    limiter.take("login", "b", per_minute=60, burst=5)
    clock.advance(1.01)
    limiter.take("login", "a", per_minute=60, burst=5)


def test_a_token_given_back_can_be_taken_again() -> None:
    limiter = RateLimiter(FakeClock())
    limiter.take("login", "a", per_minute=1, burst=1)
    limiter.give_back("login", "a", burst=1)
    limiter.take("login", "a", per_minute=1, burst=1)


def test_a_flood_of_keys_stays_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS", 100)
    limiter = RateLimiter(FakeClock())
    for n in range(1000):
        limiter.take("login", str(n), per_minute=1, burst=1)
    assert len(limiter._buckets) == 100
