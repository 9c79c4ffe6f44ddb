"""One answer of the model: it asks for data, gets them, and what it says passes the guard before anybody hears it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from paiid.ai.budget import Budget, Reservation
from paiid.ai.guard import Guard, Passed
from paiid.ai.limits import CALLS_A_ROUND, OUTPUT_TOKENS, ROUNDS
from paiid.ai.model import Meter, Model, ModelFailed, Turn
from paiid.ai.prompt import SYSTEM
from paiid.ai.reader import Reader
from paiid.ai.tools import DESCRIBED, TOOLS, Told, use
from paiid.core.json import encode

_ENDS = ("end_turn", "stop_sequence", "max_tokens")
_BYTES_A_TOKEN = 2
"""Few, for an estimate must not be too low."""
_FIXED_BYTES = len(SYSTEM.encode()) + len(encode(DESCRIBED))


class NothingLeft(Exception):
    """The guard has let nothing through."""


@dataclass(slots=True)
class Spent:
    """What an answer has used; right also when it was broken off."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    tools: list[str] = field(default_factory=list)


class Conversation:
    """The rounds of one answer."""

    def __init__(self, model: Model, reader: Reader, budget: Budget, user_id: str, spent: Spent) -> None:
        self._model = model
        self._reader = reader
        self._budget = budget
        self._user_id = user_id
        self._spent = spent
        self.guard = Guard(reader.book)
        self.tried_to_act = False
        """It wanted a tool that there is not."""

    async def run(self, prompt: str, told: Callable[[Passed], None]) -> None:
        """Until it has answered; `told` gets each sentence. Raises ModelFailed, BudgetSpent, NothingLeft,
        DatabaseUnavailable, Problem (401) where the caller's session has ended."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        for _ in range(ROUNDS):
            heard: list[Passed] = []

            def hear(text: str, heard: list[Passed] = heard) -> None:
                for sentence in self.guard.take(text):
                    heard.append(sentence)
                    told(sentence)

            turn = await self._round(messages, hear)
            # What was cut off is no sentence.
            for sentence in self.guard.end() if turn.stop_reason != "max_tokens" else self.guard.drop():
                heard.append(sentence)
                told(sentence)
            if turn.stop_reason in _ENDS:
                if not heard:
                    raise NothingLeft
                return
            if turn.stop_reason != "tool_use":
                raise ModelFailed("refused", of_question=True)
            await self._reader.still()
            results = await self._results(turn)
            messages += [{"role": "assistant", "content": turn.blocks}, {"role": "user", "content": results}]
        raise ModelFailed("too_many_rounds", of_question=True)

    async def _round(self, messages: list[dict[str, Any]], say: Callable[[str], None]) -> Turn:
        estimate = (_FIXED_BYTES + len(encode(messages))) // _BYTES_A_TOKEN
        reserved = await self._budget.reserve(self._user_id, estimate, OUTPUT_TOKENS)
        meter = Meter()
        try:
            return await self._model.turn(SYSTEM, messages, DESCRIBED, meter, say)
        finally:
            await self._settle(reserved, meter)

    async def _settle(self, reserved: Reservation, meter: Meter) -> None:
        used = meter.used(reserved.input_tokens)
        self._spent.input_tokens += used[0]
        self._spent.output_tokens += used[1]
        self._spent.cost += await self._budget.settle(reserved, *used)

    async def _results(self, turn: Turn) -> list[dict[str, Any]]:
        calls = [block for block in turn.blocks if block["type"] == "tool_use"]
        if not calls:
            raise ModelFailed("malformed")
        results = []
        for number, call in enumerate(calls):
            if number >= CALLS_A_ROUND:
                told = Told("Too many at a time.", True)
            else:
                told = await use(self._reader, call["name"], call["input"])
                known = call["name"] in TOOLS
                self.tried_to_act = self.tried_to_act or not known
                self._spent.tools.append(call["name"] if known else "unknown")
            results.append(
                {
                    "type": "tool_result",
                    "tool_use_id": call["id"],
                    "content": told.text,
                    "is_error": told.failed,
                }
            )
        return results
