"""The order path: one call under one key becomes at most one submission of each of its orders, ever."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import structlog

from paiid.accounts.records import Account
from paiid.accounts.service import AccountService
from paiid.brokers import ORDER_WAIT_S, Broker
from paiid.core.clock import Clock, new_id
from paiid.core.db import READ_BACK_S, CommitUnknown, Database, DatabaseUnavailable, UniqueViolation
from paiid.core.failpoints import FailPoint, Probe
from paiid.core.json import encode
from paiid.domain.calendar import hours_of
from paiid.domain.errors import Code, Problem, not_found
from paiid.domain.identity import Principal
from paiid.domain.instruments import underlying_of
from paiid.domain.orders import OrderRequest
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.market.service import MarketService
from paiid.stream.journal import Told, nobody
from paiid.trading import store
from paiid.trading.answers import intent_status, intent_view
from paiid.trading.book import Book
from paiid.trading.claim import Claims
from paiid.trading.commands import (
    Asked,
    Claim,
    Claimed,
    Final,
    Known,
    Surroundings,
    TemplateUse,
    closes_all,
    fingerprint,
)
from paiid.trading.dry_run import dry_answer
from paiid.trading.first_reads import load_intents
from paiid.trading.limits import limits_of
from paiid.trading.record import Recorded, Recorder, Recording
from paiid.trading.records import OrderRow
from paiid.trading.send import Sender
from paiid.trading.stages import Stages
from paiid.trading.timings import Timings
from paiid.trading.used_keys import UsedKeys
from paiid.trading.waiters import Waiters

_log = structlog.get_logger("paiid.trading")
_RECORD_TRIES_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer without HTTP: status, exact body, headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


OrdersOfTemplate = Callable[[str, TemplateUse], Awaitable[tuple[OrderRequest, ...]]]
"""User id and use -> the orders that it comes to. Raises Problem (404)."""


class TradingService:
    """Executes intents: claim, send, record; and replays what is known of a key."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        brokers: Mapping[str, Broker],
        market: MarketService,
        accounts: AccountService,
        claims: Claims,
        recorder: Recorder,
        sender: Sender,
        timings: Timings,
        ttl_s: int,
        waiters: Waiters,
        on_unknown: Callable[[], None],
        probe: Probe,
        templates: OrdersOfTemplate | None = None,
        told: Told = nobody,
        stages: Stages | None = None,
    ) -> None:
        self._stages = stages or Stages(clock)
        self._told = told
        self._orders_of_template = templates
        self._db = db
        self._clock = clock
        self._brokers = brokers
        self._market = market
        self._accounts = accounts
        self._claims = claims
        self._used_keys = UsedKeys(db, claims.client_order_id)
        self._recorder = recorder
        self._sender = sender
        self._timings = timings
        self._ttl_us = ttl_s * 1_000_000
        self._waiters = waiters
        self._on_unknown = on_unknown
        self._probe = probe
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False
        self._hold: Callable[[], str | None] = _nothing_holds

    # -- the call -----------------------------------------------------------------------------------

    async def execute(self, principal: Principal, asked: Asked, key: str, request_id: str | None) -> Reply:
        """Execute once under this key, or tell what became of it (contract E).

        Raises Problem for what leaves no row (E5), DatabaseUnavailable before anything was claimed.
        """
        with self._stages.timed("total"):
            return await self._execute(principal, asked, key, request_id)

    async def _execute(self, principal: Principal, asked: Asked, key: str, request_id: str | None) -> Reply:
        self._refuse_when_draining()
        with self._stages.timed("prepare"):
            claim = await self._prepare(principal, asked, key, request_id)
        self._probe(FailPoint.BEFORE_CLAIM)
        try:
            with self._stages.timed("claim"):
                result = await self._claim(claim)
        except Problem:
            self._stages.intents.add("problem")
            raise
        except DatabaseUnavailable:
            self._stages.intents.add("unavailable")
            raise
        self._probe(FailPoint.AFTER_CLAIM)
        if isinstance(result, Final):
            self._stages.intents.add("refused")
            return Reply(result.status, result.body.encode())
        if isinstance(result, Known):
            self._stages.intents.add("replayed")
            return self._replay(result)
        self._stages.intents.add("claimed")
        waiter = self._waiters.expect(result.intent.id)
        task = asyncio.create_task(self._dispatch(result, claim), name="paiid-dispatch")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await self._await_answer(result, waiter, task)
        finally:
            self._waiters.forget(result.intent.id)

    async def dry_run(self, principal: Principal, asked: Asked) -> Reply:
        """Say what an execute would do now, and why not; nothing is kept (contract E16)."""
        claim = await self._prepare(principal, asked, "", None, right="view")
        async with self._db.read(brief=True) as tx:
            plan = await self._claims.plan(tx, claim)
        return Reply(200, encode(dry_answer(plan)))

    async def stop(self) -> None:
        """Refuse new claims, give sends in flight their time; what is left is E13's."""
        self._draining = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=self._timings.drain_s)

    def begin_draining(self) -> None:
        """From now on new claims get 503 (E13)."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether the process is ending."""
        return self._draining

    def hold_claims(self, why: Callable[[], str | None]) -> None:
        """Ask this before each claim: as long as it gives a reason, new claims get 503 and leave no row (E5); what was claimed before is
        told as ever (E14)."""
        self._hold = why

    @property
    def held(self) -> str | None:
        """Why no claims are taken now, or None."""
        return self._hold()

    def _refuse_when_held(self) -> None:
        why = self.held
        if why is not None:
            raise Problem(
                Code.NOT_READY,
                f"This replica takes no orders now: {why}. Nothing was sent; the same key may try again, best at another one.",
                headers={"Retry-After": "5"},
            )

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Problem(
                Code.SHUTTING_DOWN,
                "The service is shutting down; send the same request again in a moment.",
                headers={"Retry-After": "2"},
            )

    # -- before the claim ---------------------------------------------------------------------------

    async def _prepare(
        self, principal: Principal, asked: Asked, key: str, request_id: str | None, right: str = "trade"
    ) -> Claim:
        account_id: str | None = None
        surroundings: Surroundings | None = None
        problem: Problem | None = None
        orders: tuple[OrderRequest, ...] | None = None
        try:
            if right == "trade":
                self._refuse_when_held()
            named, symbols = asked.account, asked.symbols()
            if asked.replace is not None:
                named, symbols = await self._order_named(asked.replace.order_id)
            account = await self._accounts.resolve(principal, named, "trade" if right == "trade" else "view")
            if key and asked.replace is None:
                elsewhere = await self._used_keys.account_of(
                    principal.user_id, key, len(asked.orders), account, named=named is not None
                )
                if elsewhere is not None:
                    account = await self._accounts.resolve(principal, elsewhere, "trade")
            account_id = account.id
            if asked.template is not None:
                orders = await self._templates(principal.user_id, asked.template)
                symbols = replace(asked, orders=orders).symbols()
            surroundings = await self._surroundings(principal, account.broker, symbols)
            if right == "trade":
                self._require_budget(account, closes_all(asked))
        except Problem as found:
            problem = found
        except FeedUnavailable as silent:
            problem = Problem(
                Code.MARKET_DATA_UNAVAILABLE,
                f"There are no market data to check the order against: {silent}. Nothing was sent; the same key "
                "may try again.",
            )
        return Claim(
            principal=principal,
            key=key,
            asked=asked,
            fingerprint=fingerprint(asked) if key else "",
            intent_id=new_id(self._clock, "int") if key else "",
            request_id=request_id,
            account_id=account_id,
            surroundings=surroundings,
            problem=problem,
            orders=orders,
        )

    def _require_budget(self, account: Account, closes: bool) -> None:
        """Raises Problem (429) where the broker would take no order now: it leaves no row, and the key may try again (E5)."""
        free_s = self._brokers[account.broker].order_free_in_s(account.number, closes=closes)
        if free_s is not None and free_s > ORDER_WAIT_S:
            raise Problem(
                Code.RATE_LIMITED,
                f"The broker takes no more requests from this account for {ceil(free_s)} s. Nothing was sent; the same key "
                "may try again then.",
                headers={"Retry-After": str(ceil(free_s))},
            )

    async def _templates(self, user_id: str, use: TemplateUse) -> tuple[OrderRequest, ...]:
        if self._orders_of_template is None:
            raise not_found("template")
        return await self._orders_of_template(user_id, use)

    async def _order_named(self, order_id: str) -> tuple[str, tuple[str, ...]]:
        """Account and symbols of an order that is to be replaced. Raises Problem (404)."""
        async with self._db.read() as tx:
            group = await store.load_groups(tx, [order_id])
        found = next((order for order in group if order.id == order_id), None)
        if found is None:
            raise not_found("order")
        named = dict.fromkeys(order.symbol for order in group)
        return found.account_id, tuple(dict.fromkeys(s for one in named for s in (one, underlying_of(one))))

    async def _surroundings(
        self, principal: Principal, broker_name: str, named: Sequence[str]
    ) -> Surroundings:
        broker = self._brokers.get(broker_name)
        if broker is None:
            raise Problem(
                Code.CONFLICT, f"The broker of this account ({broker_name}) is not configured here."
            )
        symbols = sorted(set(named))
        settings = await self._accounts.settings_of(principal.user_id)
        priced = self._market.prices_for(simulated=broker.simulated)
        quotes = await self._market.quotes(symbols) if priced else {}
        # A broker of the real world keeps the exchange's hours, whatever the simulated market does.
        hours = self._market.hours if priced else hours_of("exchange")
        now_us = self._clock.now_us()
        return Surroundings(
            quotes={symbol: quotes.get(symbol) for symbol in symbols},
            instruments={symbol: await self._market.instrument(symbol) for symbol in symbols},
            limits=limits_of(settings),
            position_size=settings.position_size,
            capabilities=broker.capabilities,
            market_open=hours.is_open(now_us),
            newest=self._market.newest if priced else _no_quote,
            trading_day=hours.trading_day(now_us),
            take_profit_pct=settings.take_profit,
            stop_loss_pct=settings.stop_loss,
            unpriced=None if priced else f"{self._market.source} prices are not those of {broker.name}",
        )

    # -- the claim ----------------------------------------------------------------------------------

    async def _claim(self, claim: Claim) -> Known | Claimed | Final:
        for _ in range(3):
            try:
                result: Known | Claimed | Final = await self._db.commit_with(self._claims.batch, claim)
            except UniqueViolation:
                # Another process was first with this key, or the id is in the ledger: look again.
                continue
            except CommitUnknown as doubt:
                return await self._read_back(claim, doubt)
            if claim.account_id is not None and not isinstance(result, Known):
                self._told([claim.account_id])
            return result
        raise DatabaseUnavailable("the claim met a conflict again and again")

    async def _read_back(self, claim: Claim, doubt: CommitUnknown) -> Known | Final:
        """An ambiguous COMMIT: look on a new connection; still unsure means 503 and nothing sent (E9).

        What turns out to be committed is not sent either, for its stamp is lost: its deadline passes and it
        is resolved as not placed. The key tells the truth at every moment.
        """
        async with self._db.read(within_s=READ_BACK_S) as tx:
            found = (await store.find_intents_by_key(tx, [claim.user_key])).get(claim.user_key)
            if found is None:
                raise DatabaseUnavailable("the claim was not committed") from doubt
            (intent,), orders = await load_intents(tx, [found.id])
            accounts = await store.load_accounts(tx, [found.account_id])
            return Known(intent, accounts[found.account_id], orders, await tx.now_us())

    # -- sending ------------------------------------------------------------------------------------

    async def _dispatch(self, claimed: Claimed, claim: Claim) -> None:
        """Send what is marked, record, send what that marked, to the end of the call (E4)."""
        order: OrderRow | None = next((o for o in claimed.orders if o.dispatch_deadline_at is not None), None)
        children = [o for o in claimed.orders if order is not None and o.parent_id == order.id]
        stamp_s = claimed.stamp_s
        broker = self._brokers[claimed.account.broker]
        while order is not None:
            outcome = await self._sender.send(
                broker, claimed.account.number, order, children, stamp_s, claimed.replacing
            )
            around = self._refreshed(claim)
            recorded = await self._record(
                Recording(
                    order.id,
                    claimed.intent.id,
                    claimed.account.id,
                    outcome,
                    claim.principal,
                    around,
                    goes_on=order.position < claimed.intent.order_count - 1,
                )
            )
            if recorded is None:
                return
            self._probe(FailPoint.AFTER_RECORD)
            for account_id, order_id, what in recorded.alarms:
                self._stages.alarms.add(what)
                _log.error("alarm", account=account_id, order=order_id, what=what)
            if outcome.unknown is not None:
                self._on_unknown()
            if recorded.final is not None:
                self._waiters.tell({claimed.intent.id: recorded.final})
            order, children, stamp_s = recorded.next_order, list(recorded.next_children), recorded.stamp_s

    def _refreshed(self, claim: Claim) -> Surroundings:
        """Today's prices for the check of the next order."""
        around = claim.surroundings
        if around is None or len(claim.orders or claim.asked.orders) < 2:
            return around or _nothing()
        return around.with_quotes({symbol: around.newest(symbol) for symbol in around.quotes})

    async def _record(self, recording: Recording) -> Recorded | None:
        """Record the outcome; None where the database stayed away, and the resolver will have to look it up."""
        for pause_s in (*_RECORD_TRIES_S, None):
            try:
                with self._stages.timed("record"):
                    recorded = await self._db.commit_with(self._recorder.batch, recording)
            except DatabaseUnavailable as problem:
                _log.warning("outcome_not_recorded", order=recording.order_id, reason=str(problem))
            else:
                self._told([recording.account_id])
                return recorded
            if pause_s is not None:
                await self._clock.sleep(pause_s)
        return None

    # -- answers ------------------------------------------------------------------------------------

    async def _await_answer(
        self,
        claimed: Claimed,
        waiter: "asyncio.Future[tuple[int, str]]",
        task: "asyncio.Task[None]",
    ) -> Reply:
        """Wait for the end of the call, then a little for what is in doubt (E14)."""
        awaited: list[asyncio.Future[Any]] = [waiter, task]
        # A database that goes away between claim and record must not hold the caller for longer than a call may take.
        await asyncio.wait(awaited, timeout=self._timings.call_budget_s, return_when=asyncio.FIRST_COMPLETED)
        if not waiter.done():
            await asyncio.wait({waiter}, timeout=self._timings.unknown_wait_s)
        if waiter.done():
            status, body = waiter.result()
            return Reply(status, body.encode())
        try:
            known = await self._load_known(claimed.intent.id)
        except DatabaseUnavailable:
            # It was claimed, so a 503 would be a lie: all that can be said is where the truth will be.
            known = Known(claimed.intent, claimed.account, claimed.orders, claimed.intent.claimed_at)
        return self._replay(known, first=True)

    async def _load_known(self, intent_id: str) -> Known:
        async with self._db.read() as tx:
            (intent,), orders = await load_intents(tx, [intent_id])
            account = (await store.load_accounts(tx, [intent.account_id]))[intent.account_id]
            return Known(intent, account, orders, await tx.now_us())

    def _replay(self, known: Known, *, first: bool = False) -> Reply:
        """The answer of a key by the state of its orders (contracts E14, E15)."""
        intent = known.intent
        status = intent_status(known.orders)
        location = f"/api/trading/intents/{intent.id}"
        if status == "in_flight" and not first:
            raise Problem(
                Code.IDEMPOTENCY_IN_FLIGHT,
                "The same request is being executed now; ask again in a second.",
                headers={"Retry-After": "1", "Location": location},
                extra={"intent_id": intent.id},
            )
        if status != "final":
            body = encode({**intent_view(intent, known.account, known.orders), "accepted": None})
            return Reply(202, body, {"Location": location, "Retry-After": "2"})
        fresh = intent.final_at is not None and known.now_us - intent.final_at < self._ttl_us
        if intent.body is not None and intent.http_status is not None and fresh:
            marks = {} if first else {"Idempotency-Replayed": "corrected" if intent.corrected else "true"}
            return Reply(intent.http_status, intent.body.encode(), marks)
        body = encode(intent_view(intent, known.account, known.orders))
        return Reply(intent.http_status or 200, body, {"Idempotency-Replayed": "summary"})

    def published(self, book: Book) -> None:
        """A transaction elsewhere in this process committed: wake whoever waits for its intents."""
        if book.final:
            self._waiters.tell(book.final)


def _nothing_holds() -> str | None:
    """There is no reason to refuse a claim."""
    return None


def _no_quote(symbol: str) -> Quote | None:
    """There are no prices for the broker at hand."""
    return None


def _nothing() -> Surroundings:
    raise Problem(Code.INTERNAL, "The request was not prepared.")
