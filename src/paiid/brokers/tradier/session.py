"""One account of one token at Tradier: every request of the broker goes through here, and ends as the broker errors it can end in."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import structlog

from paiid.brokers import BrokerError, BrokerRejected, NotSent, OutcomeUnknown
from paiid.brokers.tradier.refusals import judge_read
from paiid.core.clock import Clock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority, Spent
from paiid.wires.outbound import Broken, NotBegun
from paiid.wires.tradier.lists import as_list
from paiid.wires.tradier.wire import OBJECT_CAP, Answer, TradierWire
from paiid.wires.values import fields_of, text_of, word_of

__all__ = ["ProfileAccount", "Session"]

_PROFILE = "/user/profile"
_TOO_MANY = 429
_ASKED_AGAIN = 2
_PAUSE_S = 0.25
_log = structlog.get_logger("paiid.tradier")


@dataclass(frozen=True, slots=True)
class ProfileAccount:
    """An account as the profile tells it (section 5.1). `status` and `type` in lower case, such as `active`, `margin`;
    `option_level` as told, None where it is not."""

    number: str
    status: str
    type: str
    option_level: str | None


class Session:
    """One token and the account that is meant. `number` is None until it is given or learned."""

    def __init__(self, clock: Clock, wire: TradierWire, number: str | None = None) -> None:
        self.wire = wire
        self.number = number or wire.keys.account_id
        self._clock = clock

    def path(self, *parts: str) -> str:
        """`/accounts/{number}` and what follows it, each part as one part whatever stands in it. Raises BrokerError while
        the number is not known."""
        if self.number is None:
            raise BrokerError("which account the token is for is not known yet")
        return "/".join(("/accounts", *(quote(part, safe="") for part in (self.number, *parts))))

    async def send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        priority: Priority,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        cap: int = OBJECT_CAP,
        wait_s: float | None = None,
    ) -> Answer:
        """One request; whatever was answered, refusals too. A read or a cancel that is told 429 is asked again once the
        budget allows (ADR 0026), anything else never.

        Raises NotSent where no byte has left us or no budget was left, OutcomeUnknown where no whole answer came.
        """
        for asked in range(1 + _ASKED_AGAIN):
            answer = await self._send_once(method, path, deadline, priority, query, form, cap, wait_s)
            may_ask_again = method in ("GET", "DELETE") and asked < _ASKED_AGAIN
            if answer.status != _TOO_MANY or not may_ask_again or deadline.left_s <= _PAUSE_S:
                break
            # Where the answer does not say how long, the governor does not wait by itself.
            await self._clock.sleep(_PAUSE_S)
        if answer.status in (401, _TOO_MANY) or answer.status >= 500 or 300 <= answer.status < 400:
            _log.warning(
                "tradier_refused", keys=self.wire.keys.label, method=method, path=path, status=answer.status
            )
        return answer

    async def _send_once(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        priority: Priority,
        query: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
        cap: int,
        wait_s: float | None,
    ) -> Answer:
        try:
            return await self.wire.send(
                method, path, deadline, priority=priority, query=query, form=form, cap=cap, wait_s=wait_s
            )
        except Spent as spent:
            # It says when to try again.
            raise NotSent(str(spent)) from None
        except NotBegun as problem:
            raise NotSent(str(problem)) from None
        except Broken as problem:
            raise OutcomeUnknown(str(problem)) from None

    async def fetch_profile(self, deadline: Deadline, *, priority: Priority) -> tuple[ProfileAccount, ...]:
        """The accounts of the token, from `GET /user/profile`; one that cannot be read is left out and logged.

        Raises BrokerError; OutcomeUnknown where the answer has no profile.
        """
        answer = await self.send("GET", _PROFILE, deadline, priority=priority)
        profile = fields_of(fields_of(judge_read(answer)).get("profile"))
        if "account" not in profile:
            raise OutcomeUnknown("the broker's answer has no profile that can be read")
        accounts = [_read_account(row) for row in as_list(profile, "account")]
        return tuple(one for one in accounts if one is not None)

    async def learn_number(self, deadline: Deadline, *, priority: Priority) -> str:
        """The number of the account, asked for once where nobody has said it. Raises BrokerError, also where the token has
        several accounts: which one is meant must then be said."""
        if self.number is not None:
            return self.number
        accounts = await self.fetch_profile(deadline, priority=priority)
        open_ones = [one for one in accounts if one.status != "closed"] or list(accounts)
        if not open_ones:
            raise BrokerRejected("unknown_account", "The token of Tradier has no account.")
        if len(open_ones) > 1:
            numbers = ", ".join(one.number for one in open_ones)
            raise BrokerRejected(
                "unknown_account",
                f"The token of Tradier has several accounts ({numbers}): set TRADIER_ACCOUNT_ID to the one that is meant.",
            )
        self.number = open_ones[0].number
        return self.number


def _read_account(row: object) -> ProfileAccount | None:
    told = fields_of(row)
    number = text_of(told.get("account_number"))
    if number is None:
        _log.error("tradier_account_unusable")
        return None
    return ProfileAccount(
        number, word_of(told.get("status")), word_of(told.get("type")), text_of(told.get("option_level"))
    )
