"""The pairs of keys and the accounts behind them: which account a call is for decides which pair it is made with."""

import asyncio
from collections.abc import Sequence

import httpx2
import structlog

from paiid.brokers import BrokerAccount, BrokerError, BrokerRejected, NotSent, OutcomeUnknown
from paiid.brokers.alpaca.holdings import read_account
from paiid.brokers.alpaca.keys import AlpacaKeys
from paiid.brokers.alpaca.wire import Wire
from paiid.core.clock import Clock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority

_RELEARN_S = 10.0
"""An unknown number makes us ask again, but not more often than this."""
_log = structlog.get_logger("paiid.alpaca")


class Session:
    """One pair of keys. `number` is the account's, once it is learned."""

    def __init__(
        self, keys: AlpacaKeys, governors: Governors, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self.keys = keys
        self.wire = Wire(keys, governors, transport)
        self.number: str | None = None

    async def fetch_account(self, deadline: Deadline, priority: Priority = Priority.READ) -> BrokerAccount:
        """`GET /v2/account`; the number is learned from it. Raises BrokerError."""
        reply = await self.wire.send("GET", "/v2/account", deadline, priority=priority)
        account = read_account(reply.data, self.keys.mode)
        if account is None:
            raise OutcomeUnknown("the broker's answer has no account that can be read")
        if self.number not in (None, account.number):
            _log.error("alpaca_account_changed", keys=self.keys.label, was=self.number, now=account.number)
        self.number = account.number
        return account


class Sessions:
    """All pairs of keys of this deployment."""

    def __init__(
        self,
        clock: Clock,
        keys: Sequence[AlpacaKeys],
        governors: Governors,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self.all = tuple(Session(one, governors, transport) for one in keys)
        self._learned_s = -_RELEARN_S
        self._learning = asyncio.Lock()

    @property
    def budget_left(self) -> int | None:
        """The least that any account has left."""
        return min((session.wire.governor.left for session in self.all), default=None)

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        """Seconds until an order of this account may go; None: now."""
        found = self._find(account_number)
        return (
            None
            if found is None
            else found.wire.governor.retry_after_s(Priority.EXIT if closes else Priority.ENTRY)
        )

    async def of(
        self, account_number: str, deadline: Deadline, priority: Priority = Priority.READ
    ) -> Session:
        """The session of an account. Raises BrokerRejected (unknown_account), or what kept us from learning it; in
        either case nothing was asked of that account."""
        found = self._find(account_number)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s)), self._learning:
                problem = (
                    None if self._find(account_number) is not None else await self._learn(deadline, priority)
                )
        except TimeoutError:
            raise NotSent("the time was up before the account was known") from None
        found = self._find(account_number)
        if found is not None:
            return found
        if problem is not None:
            raise problem
        raise BrokerRejected("unknown_account", "There is no such account among those of our keys.")

    async def fetch_accounts(self, deadline: Deadline) -> list[BrokerAccount]:
        """Those that answer; the others are logged. Raises the first problem where none answers."""
        asked = (self._account_or_problem(one, deadline, Priority.READ) for one in self.all)
        answers = await asyncio.gather(*asked)
        accounts: dict[str, BrokerAccount] = {}
        problems = [one for one in answers if isinstance(one, BrokerError)]
        for answer in answers:
            if not isinstance(answer, BrokerError):
                if answer.number in accounts:
                    _log.error("alpaca_account_twice", account=answer.number)
                accounts.setdefault(answer.number, answer)
        if problems and not accounts:
            raise problems[0]
        return list(accounts.values())

    async def _account_or_problem(
        self, session: Session, deadline: Deadline, priority: Priority
    ) -> BrokerAccount | BrokerError:
        try:
            return await session.fetch_account(deadline, priority)
        except BrokerError as problem:
            _log.error("alpaca_account_unreachable", keys=session.keys.label, reason=str(problem))
            return problem

    async def _learn(self, deadline: Deadline, priority: Priority) -> BrokerError | None:
        """Ask every pair of keys for its account, unless that was done just now and all answered."""
        now_s = self._clock.monotonic_s()
        if all(one.number for one in self.all) and now_s - self._learned_s < _RELEARN_S:
            return None
        asked = (self._account_or_problem(one, deadline, priority) for one in self.all)
        answers = await asyncio.gather(*asked)
        self._learned_s = now_s
        return next((one for one in answers if isinstance(one, BrokerError)), None)

    def _find(self, account_number: str) -> Session | None:
        return next((one for one in self.all if one.number == account_number), None)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(one.wire.close() for one in self.all))
