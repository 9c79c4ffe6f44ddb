"""Questions to Redis with a deadline: a slow, frozen or dead server costs one deadline, once (docs/adr/0033)."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from paiid.core.clock import Clock
from paiid.core.figures import Histogram
from paiid.core.redis_wire import abort, end_all, open_within, pool_of
from paiid.core.tasks import Background

__all__ = ["DEADLINE_S", "NoAnswer", "RedisStore"]

DEADLINE_S = 0.05
"""How long who asks waits for an answer."""
BREAK_S = 1.0
"""How long a server that has kept somebody waiting is left alone; and how often it is asked whether it is there."""
CONNECT_S = 1.5
"""How long connecting, and the answer to that question, may take before the connection is made anew."""
MOST_WAITING = 1024
MOST_WAITING_BYTES = 8 * 1_048_576
"""What may be under way at a time; more is not asked."""
_BROKEN = (RedisError, OSError, TimeoutError)
_log = structlog.get_logger("paiid.shared")
Word = str | bytes | int
Command = Sequence[Word]


class NoAnswer(Exception):
    """The server did not say anything in time, or nothing that can be used; whoever asked decides for himself."""


class _Silent(Exception):
    """The connection is there and nothing comes back."""


class _Question:
    """Commands that are asked together, and what came back of them."""

    __slots__ = ("answer", "commands", "size")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.size = sum(len(word) for one in commands for word in one if not isinstance(word, int))
        self.answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()


class RedisStore:
    """One connection, on which many questions are under way at once. It is made, and made again, in the background: nobody who asks
    waits for a connection, and while there is none he is told so at once. The URL's password is never told."""

    def __init__(
        self, url: str, clock: Clock, *, deadline_s: float = DEADLINE_S, break_s: float = BREAK_S
    ) -> None:
        """Raises ValueError for a URL of another kind, without its text."""
        self._clock = clock
        self._pool = pool_of(url, CONNECT_S)
        self._deadline_s = deadline_s
        self._break_s = break_s
        self._tasks = Background(clock)
        self._waiting: deque[_Question] = deque()
        self._asked: deque[_Question] = deque()
        self._bytes = 0
        self._work = asyncio.Event()
        self._up = False
        self._missed_s = -math.inf
        self.missed = 0
        """How often somebody has waited until the deadline."""
        self.took = Histogram()
        """Seconds that answers took which came in time."""

    @property
    def up(self) -> bool:
        """Whether it has answered in time, the last that it was asked."""
        return self._up

    @property
    def failing(self) -> Mapping[str, str]:
        """Background work that has just broken, for the health page."""
        return self._tasks.failing

    async def start(self) -> None:
        """Begin to connect."""
        self._tasks.begin("shared-state", self._run)

    async def stop(self) -> None:
        """Cut the connection."""
        await self._tasks.stop()

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers to these, in order. Raises NoAnswer, at the latest at the deadline."""
        if not self._up:
            raise NoAnswer
        began_s = self._clock.monotonic_s()
        question = _Question(commands)
        if (
            len(self._waiting) + len(self._asked) >= MOST_WAITING
            or self._bytes + question.size > MOST_WAITING_BYTES
        ):
            raise NoAnswer
        self._put(question)
        if not await self._answered(question, self._deadline_s):
            question.answer.cancel()
            self.missed += 1
            self._miss("deadline")
            raise NoAnswer
        self.took.observe(self._clock.monotonic_s() - began_s)
        return question.answer.result()

    def _put(self, question: _Question) -> None:
        self._bytes += question.size
        self._waiting.append(question)
        self._work.set()

    @staticmethod
    async def _answered(question: _Question, deadline_s: float) -> bool:
        await asyncio.wait([question.answer], timeout=deadline_s)
        if not question.answer.done():
            # If it was this process that stood still, the answer lies in the socket.
            await asyncio.sleep(deadline_s / 32)
        return question.answer.done()

    def _miss(self, reason: str) -> None:
        self._missed_s = self._clock.monotonic_s()
        self._set_up(False, reason)

    def _set_up(self, up: bool, reason: str = "") -> None:
        if up == self._up:
            return
        self._up = up
        if up:
            _log.info("shared_state_up")
        elif reason:
            _log.warning("shared_state_lost", reason=reason)

    async def _run(self) -> None:
        """One connection after another, with a pause between them."""
        while True:
            reason = ""
            try:
                await self._live()
            except (*_BROKEN, _Silent) as problem:
                # The kind only: a text of the library may hold what stands in the URL.
                reason = type(problem).__name__
            finally:
                self._set_up(False, reason)
                self._give_up()
            await self._clock.sleep(self._break_s * (0.75 + self._clock.random_bytes(1)[0] / 512))

    def _give_up(self) -> None:
        """Nobody waits for what will not come."""
        for question in (*self._asked, *self._waiting):
            if not question.answer.done():
                question.answer.set_exception(NoAnswer())
                # Who asked may have gone.
                question.answer.exception()
        self._asked.clear()
        self._waiting.clear()
        self._bytes = 0

    async def _live(self) -> None:
        """Connect, and go on until something breaks."""
        make: Callable[[], AbstractConnection] = self._pool.make_connection
        connection = make()
        tasks: list[asyncio.Task[None]] = []
        try:
            await open_within(connection, CONNECT_S)
            tasks = [
                asyncio.create_task(work, name=f"paiid-shared-{name}")
                for name, work in (
                    ("send", self._send(connection)),
                    ("read", self._read(connection)),
                    ("watch", self._watch()),
                )
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            abort(connection)
            await end_all(tasks)
            with suppress(*_BROKEN):
                await connection.disconnect(nowait=True)

    async def _send(self, connection: AbstractConnection) -> None:
        """What waits, in one write."""
        while True:
            await self._work.wait()
            self._work.clear()
            batch = list(self._waiting)
            self._waiting.clear()
            self._asked.extend(batch)
            commands = [command for question in batch for command in question.commands]
            if commands:
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        """The answers, in the order in which they were asked for. A server that refuses a command (it may only be read, it is full, we have
        no right) is of no use as it is: the connection ends, and the next may find another."""
        answers: list[Any] = []
        while True:
            answers.append(await connection.read_response(timeout=math.inf))
            if not self._asked:
                raise _Silent
            question = self._asked[0]
            if len(answers) < len(question.commands):
                continue
            self._asked.popleft()
            self._bytes -= question.size
            if not question.answer.done():
                question.answer.set_result(answers)
            answers = []

    async def _watch(self) -> None:
        """Whether it answers, and in time: only that makes it up, and again after a while in which it kept somebody waiting."""
        while True:
            began_s = self._clock.monotonic_s()
            question = _Question([("PING",)])
            self._put(question)
            if not await self._answered(question, CONNECT_S):
                raise _Silent
            now_s = self._clock.monotonic_s()
            if now_s - began_s > self._deadline_s:
                self._miss("slow")
            elif now_s - self._missed_s >= self._break_s:
                self._set_up(True)
            await self._clock.sleep(self._break_s)
