"""The referee of the streams sees what is wrong: faults planted into recorded messages are each found."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.fault.stream_referee import Referee

Messages = list[dict[str, Any]]
ACCOUNT, QUOTES = "account:paper-1", "quotes:KO"


def order(sequence: int, id: str, status: str, filled: int) -> dict[str, Any]:
    data = {"event": "order", "id": id, "state": "ACCEPTED", "status": status, "filled_qty": filled}
    return {"type": "order_update", "channel": ACCOUNT, "epoch": 1, "sequence": sequence, "data": data}


def position(sequence: int, qty: int) -> dict[str, Any]:
    data = {"event": "position", "symbol": "KO", "qty": qty}
    return {"type": "position_update", "channel": ACCOUNT, "epoch": 1, "sequence": sequence, "data": data}


def quote(sequence: int, merged: int, bid: float, epoch: int = 7) -> dict[str, Any]:
    data = {"symbol": "KO", "bid": bid, "ask": bid + 1, "last": bid, "as_of": f"at {sequence}"}
    return {
        "type": "market_data", "channel": QUOTES, "epoch": epoch, "sequence": sequence, "merged": merged, "data": data,
    }  # fmt: skip


def recorded() -> Messages:
    """What a client of two channels hears that was away for two events and saw the leader change."""
    return [
        {"type": "connection"},
        order(1, "ord-1", "NEW", 0),
        {"type": "subscription_confirmed", "channels": {ACCOUNT: [1, 1], QUOTES: [7, 40]}},
        quote(41, 0, 10.0),
        order(2, "ord-1", "FILLED", 1),
        position(3, 1),
        quote(44, 2, 11.0),
        {"type": "heartbeat", "channels": {ACCOUNT: [1, 3], QUOTES: [7, 44]}},
        order(4, "ord-2", "NEW", 0),
        {
            "type": "reset",
            "channel": "quotes:*",
            "epoch": 9,
            "sequence": None,
            "reason": "leader",
            "data": None,
        },
        {"type": "heartbeat", "channels": {ACCOUNT: [1, 4]}},
        quote(1, 0, 12.0, epoch=9),
        quote(2, 0, 13.0, epoch=9),
        {"type": "heartbeat", "channels": {ACCOUNT: [1, 4], QUOTES: [9, 2]}},
    ]


ORDERS = [
    {"id": "ord-1", "state": "ACCEPTED", "status": "FILLED", "filled_qty": 1},
    {"id": "ord-2", "state": "ACCEPTED", "status": "NEW", "filled_qty": 0},
]
POSITIONS = [{"symbol": "KO", "qty": 1}]
NEWEST = {"KO": {"bid": 13.0, "ask": 14.0, "last": 13.0, "as_of": "at 2"}}


def judged(messages: Messages) -> Referee:
    referee = Referee("client")
    referee.places[ACCOUNT] = (1, 0)
    referee.connected([ACCOUNT])
    for message in messages:
        referee.take(message)
    return referee


def found(referee: Referee) -> list[str]:
    return [
        *referee.faults,
        *referee.differences(ORDERS, POSITIONS),
        *referee.stale_quotes(NEWEST),
    ]


def test_what_is_right_is_not_blamed() -> None:
    referee = judged(recorded())
    assert found(referee) == []
    assert (referee.merged, referee.log_resets()) == (2, [])


def _without(at: int) -> Callable[[Messages], None]:
    return lambda messages: messages.__delitem__(at)


def _doubled(at: int) -> Callable[[Messages], None]:
    return lambda messages: messages.insert(at, copy.deepcopy(messages[at]))


def _swapped(at: int) -> Callable[[Messages], None]:
    def swap(messages: Messages) -> None:
        messages[at], messages[at + 1] = messages[at + 1], messages[at]

    return swap


def _changed(at: int, *path: Any, to: Any) -> Callable[[Messages], None]:
    def change(messages: Messages) -> None:
        place: Any = messages[at]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return change


FAULTS: dict[str, Callable[[Messages], None]] = {
    "an event of an account is missing": _without(4),
    "the first event missed is not told": _without(1),
    "the last event of an account is missing": _without(8),
    "an event of an account comes twice": _doubled(5),
    "two events of an account change places": _swapped(4),
    "an account has merged": _changed(4, "merged", to=0),
    "a quote is missing": _without(3),
    "the newest quote is missing": _without(12),
    "a quote comes twice": _doubled(6),
    "too little was merged": _changed(6, "merged", to=1),
    "too much was merged": _changed(6, "merged", to=3),
    "less than nothing was merged": _changed(6, "merged", to=-1),
    "a new leader is not told": _without(9),
    "a heartbeat is behind": _changed(7, "channels", ACCOUNT, to=[1, 2]),
    "a heartbeat is ahead": _changed(7, "channels", QUOTES, to=[7, 45]),
    "a heartbeat leaves a channel out": _changed(7, "channels", to={ACCOUNT: [1, 3]}),
    "an order ends differently": _changed(4, "data", "status", to="CANCELED"),
    "a fill is of another size": _changed(4, "data", "filled_qty", to=0),
    "a position differs": _changed(5, "data", "qty", to=2),
    "the last price differs": _changed(12, "data", "bid", to=12.5),
    "an account begins anew without its state": lambda messages: messages.append(
        {"type": "reset", "channel": ACCOUNT, "epoch": 1, "sequence": 4, "reason": "not_kept", "data": None}
    ),
    "an account has a new epoch without a reset": _changed(8, "epoch", to=2),
    "something comes before the connection": _swapped(0),
    "something was refused": lambda messages: messages.append(
        {"type": "error", "code": "unavailable", "message": "the database is away"}
    ),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_planted_fault_is_found(fault: str) -> None:
    messages = recorded()
    FAULTS[fault](messages)
    assert found(judged(messages))


def test_who_comes_back_must_be_told_what_he_missed() -> None:
    referee = judged(recorded())
    referee.connected(referee.resume())
    referee.take({"type": "connection"})
    referee.take({"type": "subscription_confirmed", "channels": {ACCOUNT: [1, 5], QUOTES: [9, 2]}})
    assert len(referee.faults) == 1
    assert ACCOUNT in referee.faults[0]


def test_who_comes_back_and_does_not_say_where_he_was_is_to_blame_himself() -> None:
    referee = judged(recorded())
    referee.connected([])
    assert referee.faults


def test_a_channel_may_begin_anew_before_it_is_confirmed_also_with_an_older_epoch() -> None:
    referee = judged(recorded())
    referee.connected([ACCOUNT])
    for message in (
        {"type": "connection"},
        {
            "type": "reset",
            "channel": "quotes:*",
            "epoch": 7,
            "sequence": None,
            "reason": "leader",
            "data": None,
        },
        quote(50, 0, 14.0),
        {"type": "subscription_confirmed", "channels": {ACCOUNT: [1, 4], QUOTES: [9, 2]}},
    ):
        referee.take(message)
    assert referee.faults == []


def test_who_comes_back_to_another_epoch_must_be_told_so() -> None:
    referee = judged(recorded())
    referee.connected(referee.resume())
    referee.take({"type": "connection"})
    referee.take({"type": "subscription_confirmed", "channels": {ACCOUNT: [1, 4], QUOTES: [8, 0]}})
    assert len(referee.faults) == 1
    assert QUOTES in referee.faults[0]
