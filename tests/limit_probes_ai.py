"""The probes of docs/limits.md that are about the AI services."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import httpx2

from paiid.ai.facts import FactBook, Item, Reading
from paiid.ai.guard import Guard
from paiid.ai.model import Meter, ModelFailed, Turn, _Bounded, _count, _TooMuch
from paiid.ai.tools import shown
from paiid.core.json import encode
from tests.limit_probes import Outcome, Probed, _repeated, _request, outcome, probe
from tests.world import Client


def _chat(client: Client, texts: list[str]) -> Awaitable[httpx2.Response]:
    messages = [{"role": "user", "content": text} for text in texts]
    return client.post("/api/ai/chat", json={"messages": messages})


def _explain(client: Client, **body: Any) -> Awaitable[httpx2.Response]:
    return client.post("/api/ai/explain", json=body)


_request("ai-messages", lambda c, n: _chat(c, ["hello"] * n))
_request("ai-text", lambda c, n: _chat(c, ["é" * 100, "x" * (n - 200)]))
_request("ai-question", lambda c, n: _explain(c, kind="halt", question="x" * n))
_request("ai-id", lambda c, n: _explain(c, kind="order", order="x" * n))
_request("ai-symbol", lambda c, n: _explain(c, kind="position", symbol="A" * n))
_repeated("ai-requests", lambda c, n: _explain(c, kind="halt"))


class Scripted:
    """A model that does as it is told, without a socket; `gate` is what it waits for."""

    def __init__(self, script: Callable[[int], Turn], gate: asyncio.Event | None = None) -> None:
        self._script, self._gate, self.asked = script, gate, 0
        self.results: list[Any] = []

    async def turn(
        self, system: str, messages: Any, tools: Any, meter: Meter, say: Callable[[str], None]
    ) -> Turn:
        self.asked += 1
        self.results = messages[-1]["content"]
        if self._gate is not None:
            await self._gate.wait()
        turn = self._script(self.asked)
        for block in turn.blocks:
            say(block.get("text", ""))
        return turn

    async def stop(self) -> None:
        """Nothing is open."""


def _said(text: str) -> Turn:
    return Turn([{"type": "text", "text": text}], "end_turn")


def _calls(count: int) -> Turn:
    calls = [{"type": "tool_use", "id": f"t{n}", "name": "read_clock", "input": {}} for n in range(count)]
    return Turn(calls, "tool_use")


@probe("ai-at-once-user")
async def _at_once_user(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    places = probed.app.state.ai.places
    user_id = (await probed.owner.get("/auth/me")).json()["id"]
    found = []
    for others in (limit - 1, limit):
        with ExitStack() as stack:
            for _ in range(others):
                stack.enter_context(places.of_user(user_id))
            found.append(outcome(await _explain(probed.owner, kind="halt")))
    return found[0], found[1]


@probe("ai-at-once")
async def _at_once(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    ai = probed.app.state.ai
    ai._model = Scripted(lambda asked: _said("So it is."))
    found = []
    for others in (limit - 1, limit):
        with ExitStack() as stack:
            for _ in range(others):
                stack.enter_context(ai.places.asking())
            found.append(_by(await _explain(probed.owner, kind="halt")))
    return found[0], found[1]


@probe("ai-rounds")
async def _rounds(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    for rounds in (limit, limit + 1):
        probed.app.state.ai._model = Scripted(
            lambda asked, rounds=rounds: _said("So.") if asked == rounds else _calls(1)  # type: ignore[misc]
        )
        found.append(_by(await _explain(probed.owner, kind="halt")))
    return found[0], found[1]


@probe("ai-calls")
async def _calls_at_once(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    for count in (limit, limit + 1):
        model = Scripted(lambda asked, count=count: _calls(count) if asked == 1 else _said("So."))  # type: ignore[misc]
        probed.app.state.ai._model = model
        await _explain(probed.owner, kind="halt")
        assert len(model.results) == count
        found.append("not carried out" if model.results[-1]["is_error"] else "carried out")
    return found[0], found[1]


def _by(answer: httpx2.Response) -> Outcome:
    told = answer.json()
    return f"{told['source']}, `{told['reason']}`" if "reason" in told else str(told["source"])


@probe("ai-facts")
async def _facts(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    book = FactBook()
    made = [book.add("x", Decimal(number)) for number in range(limit + 1)]
    return ("told" if made[limit - 1] else "not told"), ("told" if made[limit] else "not told")


@probe("ai-read")
async def _read(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    empty = len(encode({"a": "", "figures": []}))
    for size in (limit, limit + 1):
        told = shown(Reading("x", (Item({"a": "x" * (size - empty)}, {}),)))
        found.append("cut" if "cut" in told else "whole")
    return found[0], found[1]


@probe("ai-sentence")
async def _sentence(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    for size in (limit, limit + 1):
        guard = Guard(FactBook())
        told = guard.take("word " * (size // 5) + "x"[: size % 5]) + guard.end()
        found.append("told" if told else "left out")
    return found[0], found[1]


@probe("ai-told")
async def _told(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async def body(size: int) -> Any:
        yield b"x" * size

    found = []
    for size in (limit, limit + 1):
        try:
            async for _ in _Bounded(body(size)):
                pass
            found.append("read")
        except _TooMuch:
            found.append("not read")
    return found[0], found[1]


@probe("ai-tokens")
async def _tokens(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    for count in (limit, limit + 1):
        try:
            _count(count)
            found.append("counted")
        except ModelFailed as failed:
            found.append(f"rules, `{failed.why}`")
    return found[0], found[1]
