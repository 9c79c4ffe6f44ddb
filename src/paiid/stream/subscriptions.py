"""Giving a client its channels, within its rights and limits, and taking them away."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from paiid.accounts.service import AccountService
from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.domain.instruments import Instrument
from paiid.feeds import FeedUnavailable
from paiid.stream.clients import Client, Clients
from paiid.stream.events import Place
from paiid.stream.hub import Hub
from paiid.stream.limits import ACCOUNTS_A_SOCKET, ERRORS_A_MESSAGE, SYMBOLS_A_SOCKET
from paiid.stream.messages import BadMessage, Id, Subscribe, Unsubscribe
from paiid.stream.views import confirmed_view, error_view
from paiid.stream.wishes import DEFAULTS, Wish, read_channels

_ASKED_AT_ONCE = 16


class Instruments(Protocol):
    """Who knows which symbols there are."""

    async def instrument(self, symbol: str) -> Instrument | None:
        """None where there is no such symbol. Raises FeedUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the source said about symbols."""

    unknown: frozenset[str]
    doubtful: frozenset[str]


class Subscriptions:
    """Carries out `subscribe` and `unsubscribe`. Refusals of single channels are told as `error`, the rest goes on."""

    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        clients: Clients,
        accounts: AccountService,
        instruments: Instruments,
        instrument_within_s: float,
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._clients = clients
        self._accounts = accounts
        self._instruments = instruments
        self._within_s = instrument_within_s

    async def begin(self, client: Client, wishes: Mapping[Wish, Place | None]) -> None:
        """The channels of an address, beside those that everybody gets; confirmed in one message."""
        await self._give(client, {**dict.fromkeys(DEFAULTS), **wishes}, {}, None, [])

    async def check_account(self, principal: Principal, named: str | None) -> None:
        """Before there is anything to tell it on. Raises Problem (404, 422) for an account that the caller may not see, or where
        none is named and he has no default; DatabaseUnavailable."""
        await self._accounts.resolve(principal, named, "view")

    async def subscribe(self, client: Client, said: Subscribe) -> None:
        """What a client asks for."""
        wishes, wrong = read_channels(said.channels, said.symbols, said.account, client.principal)
        # Both the name as it was written and the channel's full one may be resumed from.
        since: dict[Wish, Place | None] = {}
        for wish, written in wishes.items():
            since[wish] = said.resume.get(written) or said.resume.get(wish.kind + ":" + wish.name)
        await self._give(client, since, said.resume, said.id, wrong)

    async def unsubscribe(self, client: Client, said: Unsubscribe) -> None:
        """What a client does not want any more; what it does not have is not missed."""
        wishes, wrong = read_channels(said.channels, said.symbols, said.account, client.principal)
        for wish in wishes:
            try:
                self.take_away(client, (await self._named(client, wish)).hub_channel(client.principal))
            except BadMessage as bad:
                wrong.append(bad)
        self._tell_errors(client, wrong, said.id)
        self._confirm(client, said.id, ())

    def take_away(self, client: Client, channel: str) -> None:
        """One channel, if the client has it."""
        if client.held.pop(channel, None) is not None:
            client.places.pop(channel, None)
            self._hub.unsubscribe(client.subscriber, channel)

    def _confirm(self, client: Client, id: Id, unverified: Sequence[str]) -> None:
        self._clients.tell(client, confirmed_view(client, id, unverified, self._clock.now_us()))

    def _tell_errors(self, client: Client, wrong: Sequence[BadMessage], id: Id) -> None:
        now_us = self._clock.now_us()
        for bad in wrong[:ERRORS_A_MESSAGE]:
            bad.id = id
            self._clients.tell(client, error_view(bad, now_us))
        if len(wrong) > ERRORS_A_MESSAGE:
            rest = len(wrong) - ERRORS_A_MESSAGE
            told = BadMessage("more_errors", f"{rest} more channels of this message were refused.", id=id)
            self._clients.tell(client, error_view(told, now_us))

    # -- giving -------------------------------------------------------------------------------------

    async def _give(
        self,
        client: Client,
        wishes: Mapping[Wish, Place | None],
        resume: Mapping[str, Place],
        id: Id,
        wrong: list[BadMessage],
    ) -> None:
        named: dict[Wish, Place | None] = {}
        for wish, since in wishes.items():
            try:
                found = await self._named(client, wish)
            except BadMessage as bad:
                wrong.append(bad)
            else:
                named[found] = since or resume.get(found.hub_channel(client.principal))
        fresh = {wish: since for wish, since in named.items() if not self._has(client, wish)}
        asked = await self._ask([wish.name for wish in fresh if wish.kind == "quotes"])
        doubtful = []
        for wish, since in fresh.items():
            if client.ended:
                return
            try:
                self._check_unknown(wish, asked)
                self._check_limits(client, wish)
                await self._open(client, wish, since)
            except BadMessage as bad:
                wrong.append(bad)
            else:
                if wish.kind == "quotes" and wish.name in asked.doubtful:
                    doubtful.append(wish.name)
        self._tell_errors(client, wrong, id)
        self._confirm(client, id, doubtful)

    async def _named(self, client: Client, wish: Wish) -> Wish:
        """The wish with its account, if the client may see it."""
        if not wish.is_about_account:
            return wish
        try:
            account = await self._accounts.resolve(client.principal, wish.name or None, "view")
        except Problem as problem:
            channel = f"{wish.kind}:{wish.name}" if wish.name else wish.kind
            code = "account_required" if problem.code is Code.VALIDATION else "not_found"
            raise BadMessage(code, problem.detail, channel=channel) from None
        except DatabaseUnavailable:
            raise _unavailable(wish.kind) from None
        return replace(wish, name=account.id)

    def _has(self, client: Client, wish: Wish) -> bool:
        return wish.hub_channel(client.principal) in client.held

    @staticmethod
    def _check_unknown(wish: Wish, asked: _Asked) -> None:
        if wish.kind == "quotes" and wish.name in asked.unknown:
            raise BadMessage(
                "unknown_symbol",
                f"There is no {wish.name}; check the spelling.",
                channel=f"quotes:{wish.name}",
            )

    @staticmethod
    def _check_limits(client: Client, wish: Wish) -> None:
        held = client.held.values()
        if wish.kind == "quotes" and sum(one.kind == "quotes" for one in held) >= SYMBOLS_A_SOCKET:
            raise BadMessage(
                "too_many_symbols",
                f"A socket gets the quotes of at most {SYMBOLS_A_SOCKET} symbols; unsubscribe from some, or open another.",
                channel=f"quotes:{wish.name}",
            )
        if wish.is_about_account:
            accounts = {one.name for one in held if one.is_about_account} | {wish.name}
            if len(accounts) > ACCOUNTS_A_SOCKET:
                raise BadMessage(
                    "too_many_accounts",
                    f"A socket gets at most {ACCOUNTS_A_SOCKET} accounts; unsubscribe from one, or open another.",
                    channel=f"{wish.kind}:{wish.name}",
                )

    async def _open(self, client: Client, wish: Wish, since: Place | None) -> None:
        channel = wish.hub_channel(client.principal)
        # Held before it is open, so that a right that is lost meanwhile takes it away again.
        client.held[channel] = wish
        try:
            place = await self._hub.subscribe(client.subscriber, channel, since)
        except KeyError:
            client.held.pop(channel, None)
            raise BadMessage(
                "unknown_channel", "This deployment has no such channel.", channel=channel
            ) from None
        except DatabaseUnavailable:
            client.held.pop(channel, None)
            raise _unavailable(channel) from None
        if channel not in client.held or client.ended:
            self._hub.unsubscribe(client.subscriber, channel)
            raise BadMessage(
                "not_found", "There is no such channel, or it is not yours to see.", channel=channel
            )
        client.places[channel] = (place.epoch, place.sequence)

    # -- whether symbols exist ----------------------------------------------------------------------

    async def _ask(self, symbols: Sequence[str]) -> _Asked:
        """A source that is down, or slow, knows nothing for or against a symbol: it is followed then, and told as such."""
        unknown: set[str] = set()
        known: set[str] = set()
        turns = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(symbol: str) -> None:
            try:
                async with turns:
                    found = await self._instruments.instrument(symbol)
            except FeedUnavailable:
                return
            (unknown if found is None else known).add(symbol)

        await _within(self._within_s, [ask(symbol) for symbol in symbols[: SYMBOLS_A_SOCKET + 1]])
        return _Asked(frozenset(unknown), frozenset(symbols) - unknown - known)


async def _within(seconds: float, work: Sequence[Awaitable[None]]) -> None:
    """Do it at once, and leave what is not done by then."""
    if not work:
        return
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unavailable(channel: str) -> BadMessage:
    return BadMessage(
        "unavailable", "The database cannot be reached; ask for this again in a moment.", channel=channel
    )
