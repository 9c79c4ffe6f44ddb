"""One budget's minute: what is counted, what is believed of the headers, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.wires.window import MOST_REPLICAS, WINDOW_S, Window
from tests.fake_clock import FakeClock


def window(limit: int = 10) -> tuple[FakeClock, Window]:
    clock = FakeClock()
    return clock, Window(clock, limit)


def in_s(clock: FakeClock, seconds: float) -> int:
    """An instant as a header tells it."""
    return clock.now_us() + int(seconds * 1_000_000)


def learn(budget: Window, left: int | None = None, resets_at_us: int | None = None, **more: int) -> None:
    budget.learn(more.get("limit"), left, resets_at_us, refused=bool(more.get("refused")))


def test_without_headers_a_minute_is_any_sixty_seconds() -> None:
    clock, budget = window()
    for _ in range(10):
        budget.spend()
        clock.advance(2)
    assert budget.left == 0
    clock.advance(39.9)
    assert budget.left == 0
    assert budget.free_in_s(1) == pytest.approx(0.1)
    assert budget.free_in_s(3) == pytest.approx(4.1)
    clock.advance(0.2)
    assert budget.left == 1


def test_of_one_window_only_less_is_news_for_answers_overtake_each_other() -> None:
    clock, budget = window(120)
    ends = in_s(clock, 30)
    learn(budget, 50, ends)
    learn(budget, 53, ends)
    assert budget.left == 50
    learn(budget, 40, ends + 200_000)
    assert budget.left == 40, "two resets that differ by a fifth of a second are the same"
    budget.spend()
    assert budget.left == 39


def test_after_a_told_reset_what_was_sent_before_it_is_forgotten() -> None:
    clock, budget = window(60)
    for _ in range(60):
        budget.spend()
    learn(budget, 0, in_s(clock, 20))
    assert budget.free_in_s(1) == pytest.approx(20)
    clock.advance(20)
    assert budget.left == 60


def test_a_later_reset_is_another_window_and_its_word_counts() -> None:
    clock, budget = window(60)
    for _ in range(60):
        budget.spend()
    learn(budget, 0, in_s(clock, 5))
    clock.advance(4)
    later = in_s(clock, 59)
    learn(budget, 59, later)
    assert budget.left == 59, "the broker's clock was ahead of ours"
    learn(budget, 3, later - 60_000_000)
    assert budget.left == 59, "an answer from the window before came late"


def test_what_was_sent_before_the_window_began_is_no_part_of_it() -> None:
    clock, budget = window(10)
    for _ in range(8):
        budget.spend()
    clock.advance(15)
    budget.spend()
    learn(budget, 9, in_s(clock, 59.9))
    assert budget.left == 9


def test_a_limit_that_is_raised_or_lowered_counts_at_once() -> None:
    clock, budget = window(60)
    ends = in_s(clock, 40)
    for _ in range(10):
        budget.spend()
    learn(budget, 50, ends, limit=60)
    assert budget.left == 50
    learn(budget, 110, ends, limit=120)
    assert budget.left == 110
    learn(budget, 0, ends, limit=5)
    assert (budget.left, budget.limit) == (0, 5)
    learn(budget, None, None, limit=0)
    assert budget.limit == 5, "a limit of nothing is none"


def test_a_429_closes_until_the_reset_and_a_stale_yes_does_not_open() -> None:
    clock, budget = window(60)
    ends = in_s(clock, 25)
    learn(budget, 4, ends)
    learn(budget, refused=1, resets_at_us=ends)
    assert (budget.left, budget.closed_s) == (0, 25)
    learn(budget, 3, ends)
    assert budget.left == 0
    clock.advance(25)
    assert (budget.left, budget.closed_s) == (60, 0)


def test_a_429_that_does_not_say_when_closes_to_the_end_of_the_window_that_is_known_or_for_a_minute() -> None:
    clock, budget = window(60)
    learn(budget, refused=1)
    assert budget.closed_s == WINDOW_S
    learn(budget, 20, in_s(clock, 50))
    assert budget.left == 0, "it may have been answered before the 429"
    clock, budget = window(60)
    learn(budget, 20, in_s(clock, 30))
    learn(budget, refused=1)
    assert budget.closed_s == pytest.approx(30)


def test_refusals_whose_reset_is_over_are_followed_by_growing_pauses() -> None:
    clock, budget = window(60)
    pauses = []
    for _ in range(9):
        learn(budget, refused=1, resets_at_us=in_s(clock, -100))
        pauses.append(budget.closed_s)
        clock.advance(budget.closed_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    learn(budget)
    learn(budget, refused=1, resets_at_us=in_s(clock, -100))
    assert budget.closed_s == 1, "it was answered in between"


def test_many_refusals_at_once_are_one() -> None:
    clock, budget = window(60)
    for _ in range(8):
        learn(budget, refused=1, resets_at_us=in_s(clock, -1))
    assert budget.closed_s == 1
    learn(budget)
    clock.advance(1)
    for _ in range(8):
        learn(budget, refused=1, resets_at_us=in_s(clock, 0.4))
    assert budget.closed_s == 1, "a reset that did not help once is not trusted to the moment"


def test_a_reset_that_is_over_on_our_clock_is_believed_for_a_moment_and_forgets_nothing() -> None:
    clock, budget = window(10)
    for _ in range(4):
        budget.spend()
    learn(budget, 2, in_s(clock, -30))
    assert budget.left == 2
    clock.advance(1)
    assert budget.left == 6


def test_what_others_have_sent_counts_and_is_replaced_by_what_they_tell_next() -> None:
    clock, budget = window(10)
    budget.hear("a", [(10.0, 3), (0.0, 1)], 0)
    budget.hear("b", [(0.0, 2)], 0)
    assert budget.left == 4
    budget.hear("a", [(0.0, 1)], 0)
    assert budget.left == 7
    clock.advance(60)
    assert budget.left == 10
    budget.hear("b", [], 20)
    assert budget.left == 0, "the broker has told it to send nothing"
    for number in range(2 * MOST_REPLICAS):
        budget.hear(f"r{number}", [(0.0, 1)], 0)
    clock.advance(21)
    budget.limit = 1_000
    assert budget.left == 1_000 - MOST_REPLICAS


def test_what_others_tell_of_the_time_before_a_told_reset_stays_forgotten() -> None:
    clock, budget = window(10)
    budget.hear("a", [(0.0, 6)], 0)
    learn(budget, 4, in_s(clock, 5))
    clock.advance(6)
    assert budget.left == 10
    budget.hear("a", [(6.0, 6), (0.5, 1)], 0)
    assert budget.left == 9


def test_what_is_told_to_others_is_what_counts_here() -> None:
    clock, budget = window(100)
    for _ in range(3):
        budget.spend()
    clock.advance(5)
    at_s = budget.spend()
    budget.spend()
    assert budget.spent() == [(5.0, 3), (0.0, 2)]
    budget.give_back(at_s)
    budget.give_back(-1.0)
    assert budget.spent() == [(5.0, 3), (0.0, 1)]
    assert budget.left == 96
    clock.advance(55)
    assert budget.spent() == [(55.0, 1)]


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.sampled_from(("spend", "wait", "free")), st.floats(0, 40)), max_size=60),
)
def test_never_more_than_the_limit_goes_out_in_any_minute_and_free_is_when_it_says(
    limit: int, steps: list[tuple[str, float]]
) -> None:
    clock, budget = window(limit)
    sent: list[float] = []
    for step, seconds in steps:
        if step == "wait":
            clock.advance(seconds)
        elif step == "free":
            clock.advance(budget.free_in_s(1) + 0.000_01)
            assert budget.left >= 1
        elif budget.left > 0:
            budget.spend()
            sent.append(clock.monotonic_s())
            assert sum(at_s > clock.monotonic_s() - WINDOW_S for at_s in sent) <= limit


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 300),
            st.none() | st.integers(0, 300),
            st.none() | st.integers(-(10**12), 10**12),
            st.booleans(),
            st.floats(0, 30),
        ),
        max_size=30,
    )
)
def test_whatever_headers_say_it_opens_again_within_two_minutes(
    told: list[tuple[int | None, int | None, int | None, bool, float]],
) -> None:
    clock, budget = window(10)
    for limit, left, resets_in_us, refused, seconds in told:
        resets_at_us = None if resets_in_us is None else clock.now_us() + resets_in_us
        budget.learn(limit, left, resets_at_us, refused=refused)
        assert 0 <= budget.left <= budget.limit
        assert budget.free_in_s(1) <= WINDOW_S
        if budget.left:
            budget.spend()
        clock.advance(seconds)
    clock.advance(2 * WINDOW_S)
    assert budget.left == budget.limit
