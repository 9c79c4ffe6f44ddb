"""What a client may say on a stream, and what it is told of what it may not (S7, A8)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.core.origins import Origins
from paiid.domain.errors import Problem
from paiid.domain.identity import ALL_SCOPES, Principal
from paiid.stream.events import Place
from paiid.stream.messages import (
    UNRESUMABLE,
    Authenticate,
    BadMessage,
    Ping,
    Subscribe,
    Unsubscribe,
    read_message,
    read_place,
)
from paiid.stream.opening import CHANNELS, read_opening
from paiid.stream.origin import check_origin
from paiid.stream.wishes import read_channels

WHO = Principal("usr_1", "one@example.com", "trader", "session", "ses_1", ALL_SCOPES)


def told(text: str) -> str:
    """The code of what is wrong with a message."""
    with pytest.raises(BadMessage) as bad:
        read_message(text)
    assert bad.value.message.endswith((".", "-", "}"))
    return bad.value.code


def test_S7_the_four_messages_are_read() -> None:
    said = read_message('{"type":"subscribe","channels":["halts"],"symbols":["aapl"],"id":7}')
    assert said == Subscribe(("halts",), ("aapl",), None, {}, 7)
    assert read_message('{"type":"unsubscribe","symbols":["AAPL"]}') == Unsubscribe((), ("AAPL",))
    assert read_message('{"type":"ping","id":"x"}') == Ping("x")
    assert read_message('{"type":"auth","token":"t"}') == Authenticate("t", None)
    resumed = read_message('{"type":"subscribe","channels":["account"],"resume":{"account":"3:12"}}')
    assert isinstance(resumed, Subscribe)
    assert resumed.resume == {"account": Place(3, 12)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("[]", "not_an_object"),
        ("null", "not_an_object"),
        ('{"type":"ping","type":"ping"}', "duplicate_json_key"),
        ('{"type":"ping","x":1}', "unknown_field"),
        ('{"type":"shout"}', "unknown_type"),
        ('{"type":["ping"]}', "unknown_type"),
        ("{}", "unknown_type"),
        ('{"type":"ping","id":{}}', "invalid_field"),
        ('{"type":"ping","id":true}', "invalid_field"),
        (json.dumps({"type": "ping", "id": "i" * 65}), "invalid_field"),
        ('{"type":"subscribe"}', "nothing_named"),
        ('{"type":"subscribe","channels":"halts"}', "invalid_field"),
        ('{"type":"subscribe","channels":[1]}', "invalid_field"),
        ('{"type":"subscribe","symbols":["A"],"account":""}', "invalid_field"),
        ('{"type":"subscribe","symbols":["A"],"resume":["1:1"]}', "invalid_field"),
        ('{"type":"subscribe","symbols":["A"],"resume":{"x":1}}', "invalid_field"),
        ('{"type":"subscribe","symbols":["A\\u0000"]}', "invalid_json"),
        ('{"type":"auth"}', "invalid_field"),
        ('{"type":"auth","token":"a","ticket":"b"}', "invalid_field"),
        ('{"type":"auth","token":""}', "invalid_field"),
        ('{"type":"ping","id":1e9}', "invalid_field"),
        (json.dumps({"type": "subscribe", "symbols": ["A"] * 513}), "too_many_channels"),
        ("[" * 17 + "]" * 17, "message_too_deep"),
        ("\ud800", "invalid_json"),
    ],
)
def test_S7_what_is_wrong_has_a_stable_code(text: str, code: str) -> None:
    assert told(text) == code


@given(st.one_of(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(
        ["type", "id", "channels", "symbols", "account", "resume", "token", "ticket"]), inner)).map(json.dumps)))  # fmt: skip
def test_S7_whatever_is_said_is_read_or_told_what_is_wrong(text: str) -> None:
    found = ""
    try:
        read_message(text)
    except BadMessage as bad:
        found = bad.code
    assert found.replace("_", "a").isalpha() or not found


@pytest.mark.parametrize(
    "text",
    ["", ":", "1", "1:", ":1", "-1:4", "1:-4", "1:2:3", "a:b", " 1:2", "1:2\n", "１:2", "9" * 20 + ":1", "9223372036854775808:1", "1.0:2", "0x1:2"],
)  # fmt: skip
def test_S2_a_place_that_cannot_be_is_one_nobody_can_resume_from(text: str) -> None:
    assert read_place(text) == UNRESUMABLE


def test_S2_a_place_is_epoch_and_sequence() -> None:
    assert read_place("3:120") == Place(3, 120)
    assert read_place(str(Place(2**63 - 1, 0))) == Place(2**63 - 1, 0)


def test_channels_are_read_and_folded_and_the_wrong_ones_told() -> None:
    wishes, wrong = read_channels(
        ["quotes:aapl", "account", "portfolio:p1", "halts", "halts:usr_1", "feed", "halts:usr_2", "quotes:", "account:", "x", "feed:1"],
        ["AAPL", "spy", "???"],
        "acc9",
        WHO,
    )  # fmt: skip
    assert [wish.hub_channel(WHO) for wish in wishes] == [
        "quotes:AAPL", "account:acc9", "portfolio:p1", "halts:usr_1", "feed", "quotes:SPY",
    ]  # fmt: skip
    assert [(bad.code, bad.channel) for bad in wrong] == [
        ("not_found", "halts:usr_2"),
        ("unknown_channel", "quotes:"),
        ("unknown_channel", "account:"),
        ("unknown_channel", "x"),
        ("unknown_channel", "feed:1"),
        ("invalid_symbol", "quotes:???"),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"symbols=AAPL,???", "symbols"),
        (b"symbols=A&symbols=B", "symbols"),
        (b"account=", "account"),
        (b"account=%C3%A9", "account"),
        (b"batch=2", "batch"),
    ],
)
def test_what_an_address_asks_wrongly_is_told_by_field(query: bytes, field: str) -> None:
    with pytest.raises(Problem) as problem:
        read_opening("/api/stream/prices", query)
    assert problem.value.errors[0].field == field


def test_each_address_has_its_channels() -> None:
    for path in CHANNELS:
        assert read_opening(path, b"").batch is False
    opening = read_opening("/api/stream/prices", b"symbols=aapl,SPY,AAPL&batch=1")
    assert (opening.symbols, opening.batch) == (("AAPL", "SPY"), True)
    assert [wish.kind for wish in read_opening("/api/stream/positions", b"account=x").wishes(WHO, ())] == [
        "account",
        "portfolio",
    ]


def headers(**given: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in given.items()]


@pytest.mark.parametrize(
    ("origin", "host", "lets_in"),
    [
        ("https://app.example.com", "other:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://paiid.example.com", "paiid.example.com", True),
        ("https://paiid.example.com", "PAIID.example.com:443", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("null", "127.0.0.1:8000", False),
        ("", "127.0.0.1:8000", False),
        ("https://evil.example.com", "127.0.0.1:8000", False),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", False),
        ("https://app.example.com.evil.com", "127.0.0.1", False),
        ("file://", "", False),
        ("chrome-extension://abc", "abc", False),
    ],
)
def test_A07_a_page_opens_a_stream_from_its_own_address_or_a_listed_one(
    origin: str, host: str, lets_in: bool
) -> None:
    origins = Origins(("https://app.example.com",))
    found = 0
    try:
        check_origin(headers(origin=origin, host=host), origins)
    except Problem as problem:
        found = problem.code.status
    assert found == (0 if lets_in else 403)


def test_A07_a_program_sends_no_origin_and_two_are_refused() -> None:
    check_origin(headers(host="x"), Origins(()))
    twice: Any = [(b"origin", b"http://x"), (b"origin", b"http://x"), (b"host", b"x")]
    with pytest.raises(Problem):
        check_origin(twice, Origins(("http://x",)))
