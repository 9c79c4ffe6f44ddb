"""The wire forms of messages: exact headers at every size, JSON that is JSON, each form made once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.stream.events import Event
from paiid.stream.frames import (
    MOST_IN_BATCH,
    Message,
    event_message,
    heartbeat_message,
    joined,
    plain_message,
    reset_message,
    text_frame,
)
from tests.stream_world import messages_of, unframed

AT = "2026-11-22T10:00:00.000000Z"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_of_any_size_is_read_back(size: int) -> None:
    assert unframed(text_frame(b"x" * size)) == ["x" * size]


def test_an_event_carries_all_that_it_has_to() -> None:
    event = Event("quotes:A", "market_data", 3, 7, 0, "test", b'{"bid":1.10}')
    message = event_message(event, 2, AT, AT, with_id=True)
    assert json.loads(message.json) == {
        "type": "market_data",
        "channel": "quotes:A",
        "epoch": 3,
        "sequence": 7,
        "merged": 2,
        "ts_event": AT,
        "ts_sent": AT,
        "source": "test",
        "data": {"bid": 1.1},
    }
    assert b'"bid":1.10' in message.json, "digits are as they were"
    assert message.id == "3:7"
    assert "merged" not in json.loads(event_message(event, None, AT, AT, with_id=True).json), (
        "a log merges nothing"
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_channel_is_called_the_message_is_json_on_one_line(channel: str, reason: str) -> None:
    message = reset_message(channel, None, None, reason, None, AT, with_id=True, whole=True)
    read = json.loads(message.json)
    assert (read["channel"], read["reason"], read["epoch"], read["data"]) == (channel, reason, None, None)
    assert messages_of("sse", message.sse) == [read]


@pytest.mark.parametrize("style", ["frames", "batches", "sse"])
def test_each_style_tells_the_same(style: str) -> None:
    messages = [plain_message(b'{"type":"pong","id":%d}' % number) for number in range(5)]
    read = messages_of(style, joined(style, messages))  # type: ignore[arg-type]
    assert read == [{"type": "pong", "id": number} for number in range(5)]


def test_a_batch_has_a_bound_and_loses_nothing() -> None:
    messages = [Message("x", b'{"n":%d,"pad":"%b"}' % (n, b"x" * 50_000)) for n in range(20)]
    texts = unframed(joined("batches", messages))
    assert len(texts) > 1
    assert max(map(len, texts)) <= MOST_IN_BATCH + 100
    assert [one["n"] for text in texts for one in json.loads(text)] == list(range(20))


def test_a_form_is_made_once() -> None:
    message = plain_message(b'{"type":"pong"}')
    assert message.frame is message.frame
    assert message.sse is message.sse
    assert joined("frames", [message]) is message.frame


def test_a_heartbeat_names_every_place() -> None:
    read = json.loads(heartbeat_message({"halts": (1, 2), "quotes:A": (3, 4)}, AT).json)
    assert read == {"type": "heartbeat", "channels": {"halts": [1, 2], "quotes:A": [3, 4]}, "ts_sent": AT}
