"""Answers questions about what the service knows: by the model where it may be asked, else by the rules (docs/adr/0031)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from paiid.ai.answers import LEFT_OUT, Answer, Growing, Reason, Source, Tell, nobody
from paiid.ai.asked import Asked, Chat, Explain
from paiid.ai.breaker import Breaker
from paiid.ai.budget import Budget, BudgetSpent
from paiid.ai.conversation import Conversation, NothingLeft, Spent
from paiid.ai.facts import FactBook, Reading
from paiid.ai.fallback import by_rules, subject_of
from paiid.ai.figures import AiFigures
from paiid.ai.intents import names_trade
from paiid.ai.limits import REQUESTS, AiTimings
from paiid.ai.model import AnthropicModel, Model, ModelFailed
from paiid.ai.places import Places
from paiid.ai.prompt import chat_prompt, explain_prompt
from paiid.ai.reader import Reader, Services
from paiid.ai.rules import CANNOT_TRADE, plainly
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.settings import Settings
from paiid.core.shared import SharedThrottle
from paiid.domain.identity import Principal

_log = structlog.get_logger("paiid.ai")


class AiService:
    """Of one process. `model` None: the one that the settings name, or none."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        settings: Settings,
        throttle: SharedThrottle,
        services: Services,
        model: Model | None = None,
        timings: AiTimings | None = None,
    ) -> None:
        self.timings = timings or AiTimings()
        if model is None and settings.anthropic_api_key is not None and settings.asks_anthropic:
            model = AnthropicModel(
                settings.anthropic_api_key, settings.anthropic_base_url, settings.ai_model, self.timings
            )
        self._db = db
        self._clock = clock
        self._throttle = throttle
        self._services = services
        self._model = model
        self._model_name = settings.ai_model
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.budget = Budget(db, clock, settings)
        self.breaker = Breaker(clock, self.timings)
        self.places = Places()
        self.figures = AiFigures()

    # -- how it is --------------------------------------------------------------------------------------

    @property
    def configured(self) -> bool:
        """Whether there is a model that may be asked."""
        return self._model is not None

    @property
    def last_problem(self) -> str | None:
        """What was the matter with the model last, in words for anybody; None once it answers."""
        return self.breaker.problem

    def health(self) -> tuple[str, str]:
        """(up, down or unconfigured; a few words)."""
        if not self.configured:
            return "unconfigured", "no key; the rules answer"
        problem = self.last_problem
        return ("up", "") if problem is None else ("down", f"{problem}; the rules answer")

    async def status(self, user: Principal) -> dict[str, Any]:
        """Who would answer now, and the caller's budget."""
        budget = await self.budget.view(user.user_id)
        asks = self._why_not() is None and budget["tokens"]["left"] > 0 and budget["usd"]["left"] > 0
        return {
            "configured": self.configured,
            "source": "anthropic" if asks else "rules",
            "model": self._model_name if self.configured else None,
            "problem": self.last_problem,
            "budget": budget,
        }

    # -- asking -----------------------------------------------------------------------------------------

    async def admit(self, user: Principal) -> None:
        """Count a request of his. Raises Problem (429)."""
        await self._throttle.take("ai_user", user.user_id, *REQUESTS)

    def reader(
        self, user: Principal, asked: Asked, again: Callable[[], Awaitable[Principal]] | None = None
    ) -> Reader:
        """His eyes for one answer; `again` looks at his credential anew."""
        return Reader(self._services, user, asked.account, FactBook(), again)

    async def read(self, asked: Asked, reader: Reader) -> list[Reading]:
        """What is to be explained, and that the account is his to see. Raises Problem (404, 422, 503), DatabaseUnavailable."""
        if isinstance(asked, Explain):
            return await subject_of(asked, reader)
        if asked.account is not None:
            await reader.resolve()
        return []

    async def answer(
        self,
        user: Principal,
        asked: Asked,
        reader: Reader,
        readings: Sequence[Reading],
        request_id: str | None,
        tell: Tell = nobody,
    ) -> Answer:
        """The answer; `tell` gets it piece by piece as it grows. Raises DatabaseUnavailable, Problem (401, 503)."""
        began_s = self._clock.monotonic_s()
        growing, spent = Growing(tell), Spent()
        conversation: Conversation | None = None
        why: str | None = self._why_not()
        broken: str | None = "broke"
        try:
            if why is None and self._model is not None:
                conversation = Conversation(self._model, reader, self.budget, user.user_id, spent)
                why = await self._ask(conversation, asked, readings, growing)
            source: Source = "anthropic" if why is None else "rules"
            withheld = 0 if conversation is None else conversation.guard.withheld
            if why is not None:
                growing.begin_anew()
                await reader.still()
                if conversation is not None:
                    # What the model has read may have filled the book.
                    reader.book = FactBook()
                async for sentence in by_rules(asked, readings, reader):
                    growing.take(sentence)
            elif conversation is not None:
                self._add_notices(conversation, asked, growing)
            answer_id = new_id(self._clock, "ans")
            await self._audit(user, asked, answer_id, source, why, spent, withheld, request_id)
            broken = None
            budget = await self.budget.view(user.user_id)
        except asyncio.CancelledError:
            broken = broken and "left"
            raise
        finally:
            # What was spent is spent, and what was read is read, also where the caller has gone.
            self.figures.spent(spent.input_tokens, spent.output_tokens, spent.cost)
            if broken is not None:
                withheld = 0 if conversation is None else conversation.guard.withheld
                answer_id = new_id(self._clock, "ans")
                with suppress(DatabaseUnavailable):
                    await self._audit(user, asked, answer_id, "none", broken, spent, withheld, request_id)
        self.figures.answered(source, why or "", withheld, self._clock.monotonic_s() - began_s)
        model = self._model_name if source == "anthropic" else None
        return Answer(
            answer_id,
            source,
            model,
            growing.text,
            tuple(growing.facts.values()),
            withheld,
            spent,
            budget,
            why,
        )

    def _why_not(self) -> Reason | None:
        """Why the model is not asked."""
        if self._model is None:
            return "no_key"
        if self._ending.is_set():
            return "draining"
        if self.breaker.rests:
            return "resting"
        return "busy" if self.places.full else None

    async def _ask(
        self, conversation: Conversation, asked: Asked, readings: Sequence[Reading], growing: Growing
    ) -> str | None:
        """Have the model answer; why it has not, or None. Raises DatabaseUnavailable."""
        prompt = (
            chat_prompt(asked.messages)
            if isinstance(asked, Chat)
            else explain_prompt(asked.kind, readings, asked.question)
        )
        try:
            with self.places.asking():
                async with asyncio.timeout(self.timings.answer_s):
                    if not await self._unless_ending(conversation.run(prompt, growing.take)):
                        return "draining"
        except BudgetSpent:
            return "budget"
        except NothingLeft:
            self.breaker.answered()
            return "nothing_left"
        except TimeoutError:
            return self._failed("timeout")
        except ModelFailed as failed:
            return self._failed(failed.why, of_question=failed.of_question)
        self.breaker.answered()
        return None

    async def _unless_ending(self, work: Any) -> bool:
        """Do it; False where this process ends before it is done."""
        doing = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
                return True
            return False
        finally:
            for one in (doing, ending):
                one.cancel()
            # What it has used is booked before it is gone.
            with suppress(asyncio.CancelledError):
                await asyncio.gather(doing, ending, return_exceptions=True)

    def _failed(self, why: Any, *, of_question: bool = False) -> str:
        self.breaker.failed(why, of_question=of_question)
        _log.warning("ai_model_failed", why=why)
        return str(why)

    @staticmethod
    def _add_notices(conversation: Conversation, asked: Asked, growing: Growing) -> None:
        if conversation.guard.withheld:
            growing.take(plainly("\n" + LEFT_OUT))
        # "Your order has been placed" cannot be told from a report of one; who asks for one is told in any case.
        if conversation.guard.claimed or conversation.tried_to_act or names_trade(asked.question or ""):
            growing.take(plainly("\n" + CANNOT_TRADE))

    async def _audit(
        self,
        user: Principal,
        asked: Asked,
        answer_id: str,
        source: str,
        why: str | None,
        spent: Spent,
        withheld: int,
        request_id: str | None,
    ) -> None:
        """Who asked, what was read and what it cost; never what was said."""
        detail = {
            "source": source,
            "reason": why,
            "tools": spent.tools,
            "input_tokens": spent.input_tokens,
            "output_tokens": spent.output_tokens,
            "withheld": withheld,
        }
        if isinstance(asked, Explain):
            detail["kind"] = asked.kind
        async with self._db.begin() as tx:
            entry = AuditEntry(user.actor, asked.action, f"answer:{answer_id}", detail, request_id)
            await write_audit(tx, self._clock, await tx.now_us(), [entry])

    # -- the end ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Nothing is opened before it is wanted."""
        self._loop = asyncio.get_running_loop()

    def begin_draining(self) -> None:
        """From now on the rules answer, also what the model is answering just now. From any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)

    async def stop(self) -> None:
        """Close what is open."""
        self._ending.set()
        if self._model is not None:
            await self._model.stop()
