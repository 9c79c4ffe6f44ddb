"""A model that fails in every way: the rules answer, say why, and nothing waits for it longer than told."""

import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog

from paiid.ai.asked import Chat
from paiid.ai.limits import ROUNDS, TOLD_BYTES, AiTimings
from paiid.ai.model import AnthropicModel, Meter, ModelFailed
from paiid.core import log
from tests.anthropic_stand_in import KEY, Drip, Hang, Raw, Refuse, Say, StandIn, stand_in, streamed
from tests.conftest import MakeApp

QUICK = AiTimings(connect_s=10.0, silence_s=0.3, answer_s=10.0)
"""Only for who says nothing: a slow machine is silent for as long at times."""
PATIENT = AiTimings(connect_s=10.0, silence_s=10.0, answer_s=30.0)
WHOLE = Say("It is fine.").events()


def without(kind: str) -> bytes:
    """A stream in which these events are missing."""
    return streamed(*(event for event in WHOLE if event["type"] != kind))


def with_one(at: int, **changes: Any) -> bytes:
    """A stream in which one event is different."""
    events = json.loads(json.dumps(WHOLE))
    events[at].update(changes)
    return streamed(*events)


ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "test"}}
FAULTS: dict[str, tuple[Any, str]] = {
    "a wrong key": (Refuse(401, "authentication_error"), "wrong_key"),
    "a key without the right": (Refuse(403, "permission_error"), "wrong_key"),
    "too many requests": (Refuse(429, "rate_limit_error"), "limited"),
    "overloaded": (Refuse(529, "overloaded_error"), "overloaded"),
    "broken": (Refuse(500), "unreachable"),
    "no such model": (Refuse(404, "not_found_error"), "refused"),
    "a redirect": (Refuse(307, "moved"), "refused"),
    "silence": (Hang(), "timeout"),
    "silence in the middle": (Raw(streamed(*WHOLE[:2]), hold=True), "timeout"),
    "an error in the middle": (Raw(streamed(*WHOLE[:3], ERROR)), "overloaded"),
    "a stream that ends early": (Raw(streamed(*WHOLE[:3])), "malformed"),
    "no stream at all": (Raw(b"hello"), "malformed"),
    "no JSON": (Raw(b"event: message_start\ndata: {oops\n\n"), "malformed"),
    "no UTF-8": (Raw(b"event: message_start\ndata: \xff\xfe\n\n"), "malformed"),
    "no start": (Raw(without("message_start")), "malformed"),
    "no stop": (Raw(without("message_stop")), "malformed"),
    "no reason": (Raw(without("message_delta")), "malformed"),
    "no block": (Raw(without("content_block_start")), "malformed"),
    "a block that there is not": (Raw(with_one(2, index=7)), "malformed"),
    "a delta of another kind": (
        Raw(with_one(2, delta={"type": "input_json_delta", "partial_json": "{"})),
        "malformed",
    ),
    "a text that is a number": (Raw(with_one(2, delta={"type": "text_delta", "text": 5})), "malformed"),
    "a block of another kind": (Raw(with_one(1, content_block={"type": "image"})), "malformed"),
    "usage that is a text": (Raw(with_one(4, usage={"output_tokens": "many"})), "malformed"),
    "usage below zero": (Raw(with_one(4, usage={"output_tokens": -5})), "malformed"),
    "arguments that are no JSON": (Say(calls=(("read_clock", "{oops"),)), "malformed"),
    "arguments nested too deep": (Say(calls=(("read_clock", "[" * 30_000),)), "malformed"),
    "tools without a call": (Say("x", stop_reason="tool_use"), "malformed"),
    "a refusal": (Say("I cannot.", stop_reason="refusal"), "refused"),
    "no text": (Say(""), "nothing_left"),
}


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """One database will do."""
    return sqlite_url


@asynccontextmanager
async def model(*script: Any, timings: AiTimings = PATIENT) -> AsyncIterator[tuple[AnthropicModel, StandIn]]:
    """The product's own client of the model, with deadlines of the test's own."""
    async with stand_in(*script) as api:
        one = AnthropicModel(KEY, api.url, "claude-test", timings)
        yield one, api
        await one.stop()


async def test_every_failure_of_the_model_has_its_word_and_the_rules_answer(make_app: MakeApp) -> None:
    async with model() as (one, api):
        app = await make_app({"anthropic_api_key": KEY, "anthropic_base_url": api.url})
        ai, owner = app.state.ai, await app.owner()
        hasty = AnthropicModel(KEY, api.url, "claude-test", QUICK)
        user = await app.state.auth.authenticate(owner.token)
        lines = io.StringIO()
        before = structlog.get_config()
        log.configure("DEBUG")
        structlog.configure(
            logger_factory=structlog.WriteLoggerFactory(file=lines), cache_logger_on_first_use=False
        )
        try:
            for name, (fault, why) in FAULTS.items():
                ai.breaker.answered()
                api.script = [fault]
                # The same service with deadlines of ours.
                ai._model = hasty if why == "timeout" else one
                asked = Chat((("user", "private words: is the market open?"),), None)
                answer = (await ai.answer(user, asked, ai.reader(user, asked), [], None)).view()
                assert (answer["source"], answer["reason"]) == ("rules", why), (name, answer)
                assert answer["text"].startswith("The market is open."), name
                assert (ai.last_problem is None) == (why == "nothing_left"), name
                assert answer["budget"]["tokens"]["reserved"] == 0, name
                if why == "wrong_key":
                    assert ai.health() == (
                        "down",
                        "the model's provider does not take the key; the rules answer",
                    )
                    status = (await owner.get("/api/ai/status")).json()
                    assert status["problem"] == "the model's provider does not take the key"
            assert len(api.asked) == len(FAULTS), "nothing was sent again"
        finally:
            structlog.configure(**before)
            await hasty.stop()
        written = lines.getvalue()
        assert "ai_model_failed" in written
        assert KEY not in written
        assert "private words" not in written

        # Three in a row, and it is left alone.
        api.script = [Refuse(500)]
        ai.breaker.answered()
        asked_before = len(api.asked)
        reasons = [
            (await ai.answer(user, asked, ai.reader(user, asked), [], None)).reason for _ in range(5)
        ]  # fmt: skip
        assert reasons == ["unreachable"] * 3 + ["resting"] * 2
        assert len(api.asked) == asked_before + 3
        # It asks for data again and again.
        ai.breaker.answered()
        api.script = [Say(calls=(("read_clock", {}),))]
        assert (await ai.answer(user, asked, ai.reader(user, asked), [], None)).reason == "too_many_rounds"
        assert len(api.asked) == asked_before + 3 + ROUNDS


async def test_an_answer_that_drips_ends_with_the_time_for_the_whole(make_app: MakeApp) -> None:
    """Each piece comes within the time for one, and there is no end to them."""

    async with model() as (one, api):
        app = await make_app({"anthropic_api_key": KEY, "anthropic_base_url": api.url})
        ai, owner = app.state.ai, await app.owner()
        # Long enough that what it begins with is heard on a slow machine too.
        ai._model, ai.timings = one, AiTimings(answer_s=2.0)
        api.script = [Drip(streamed(*WHOLE[:2]), b": ping\n\n")]
        answer = (await owner.post("/api/ai/explain", json={"kind": "halt"})).json()
        assert (answer["source"], answer["reason"]) == ("rules", "timeout")
        assert answer["usage"]["input_tokens"] == 100, "what it had begun is paid for"


async def test_a_body_without_an_end_is_not_read_to_it() -> None:
    # What hangs is left alone only after its silence.
    timings = replace(PATIENT, silence_s=2.0)
    async with model(Raw(b"data: " + b"x" * (TOLD_BYTES + 1), hold=True), timings=timings) as (one, api):
        with pytest.raises(ModelFailed) as failed:
            await one.turn("s", [{"role": "user", "content": "x"}], [], Meter(), print)
        assert failed.value.why == "malformed"
        await api.holding.wait()


async def test_where_nobody_listens_it_is_unreachable_and_nothing_was_used() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        one = AnthropicModel(KEY, f"http://127.0.0.1:{taken.getsockname()[1]}", "claude-test", PATIENT)
        meter = Meter()
        with pytest.raises(ModelFailed) as failed:
            await one.turn("s", [{"role": "user", "content": "x"}], [], meter, print)
        assert failed.value.why == "unreachable"
        assert meter.used(500) == (0, 0)
        await one.stop()
