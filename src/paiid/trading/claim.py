"""The claim: one transaction that decides whether an intent exists, and marks its first order for sending.

Its commit comes before the first byte to the broker (contract E9). Claims that wait together share one
transaction: the gate, halts, credentials, grants, accounts, keys and positions are read once for the group,
each claim is decided in memory in turn, seeing what those before it have reserved, and everything is written
with a few statements.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.core.failpoints import FailPoint, Probe
from paiid.domain.errors import Code, Problem, not_found
from paiid.domain.identity import Principal, Role
from paiid.domain.margin import buying_power
from paiid.domain.money import ZERO, money_to_int
from paiid.domain.orders import OrderRequest, Reason, Submission
from paiid.domain.risk import Proposal, Standing, estimated_value, grown, reserve_price
from paiid.trading import store
from paiid.trading.adopt import NOT_PLACED_THEN, Adoptable, adopt, in_ledger, key_reused, same_order
from paiid.trading.answers import reason_text
from paiid.trading.book import Book
from paiid.trading.call import orders_of_call
from paiid.trading.checks import Gate, as_proposal, halt_reason, refuse, resolve
from paiid.trading.commands import Claim, Claimed, DryRunPlan, Final, Known, Surroundings
from paiid.trading.first_reads import Grants, enter_claim, load_intents, read_plan
from paiid.trading.latch import Latch
from paiid.trading.order_rows import blank_order, child_client_id, child_fields, parent_fields
from paiid.trading.records import AccountRow, IntentRow, OrderRow
from paiid.trading.replace import (
    begin_replace,
    order_to_replace,
    replacing_of,
    why_not_replaceable,
)
from paiid.trading.restored import refuse_pending
from paiid.trading.restored_store import find_restored_ids, load_pending
from paiid.trading.timings import Timings

ClaimResult = Known | Claimed | Final
_SKIPPED_TOGETHER = Reason("skipped", "Another order of the same call was refused, so this one was not sent.")


@dataclass(slots=True)
class Checked:
    """The orders of a call as they were resolved, the first refusal with its position, and the account with all that
    passed in it."""

    orders: list[tuple[OrderRequest, Proposal]]
    refused: tuple[int, Reason] | None
    standing: Standing


class Claims:
    """Decides claims in groups; `secret` is the install's own (E8)."""

    def __init__(self, clock: Clock, latch: Latch, timings: Timings, secret: bytes, probe: Probe) -> None:
        self._clock = clock
        self._latch = latch
        self._timings = timings
        self._secret = secret
        self._probe = probe

    def client_order_id(self, account_id: str, user_id: str, key: str, position: int) -> str:
        """`pd-` and 32 hex of an HMAC: the same order has the same id, and nobody can guess it (E8)."""
        text = "\0".join((account_id, user_id, key, str(position)))
        return "pd-" + hmac.new(self._secret, text.encode(), "sha256").hexdigest()[:32]

    async def batch(self, tx: Tx, items: Sequence[Claim]) -> Sequence[ClaimResult | Exception]:
        """Decide a group. Results, in order: what the claim came to, or the Problem for its caller."""
        # The stamp is older than the gate, so the send window ends before the deadline in the database (E10).
        stamp_s = self._clock.monotonic_s()
        entered = await enter_claim(
            tx,
            [item.principal for item in items],
            (item.account_id for item in items if item.account_id is not None),
        )
        gate = Gate(entered.halts, self._latch.holds())
        book = Book(tx, self._clock, entered.now_us)
        known = await book.open_for_claim(entered.accounts, [item.user_key for item in items])
        await book.load_combos()
        replaced = [item.asked.replace.order_id for item in items if item.asked.replace is not None]
        if replaced:
            await book.load_with_group(replaced)
        adoptable = await self._load_adoptable(tx, items)
        # What waits for its broker's orders after a restore says so in its row, unless an alarm stands there; and as it
        # cannot be resumed, a halt covers it.
        pending = await load_pending(tx) if gate.halts.stops_an_account else {}
        restored = await find_restored_ids(tx, [one for one, _ in adoptable]) if adoptable else frozenset()
        results: list[ClaimResult | Exception] = []
        for item in items:
            item.attempts += 1
            try:
                refuse_caller(item.principal, entered.standing)
                earlier = known.get(item.user_key)
                if earlier is not None:
                    results.append(self._known(item, earlier, book))
                    continue
                account = self._account(item, book, entered.grants)
                refuse_pending(account, pending)
                intent = self._decide(item, account, book, gate, adoptable, account.id in restored)
            except Problem as problem:
                results.append(problem)
                continue
            known[item.user_key] = intent
            results.append(self._outcome(item, intent, account, book, stamp_s))
        await self._complete_known(tx, book, results)
        await book.flush()
        self._probe(FailPoint.IN_CLAIM)
        return results

    async def plan(self, tx: Tx, item: Claim) -> DryRunPlan:
        """The identical decision without a key, a lock or a row (contract E16)."""
        seen = await read_plan(tx, item.principal, () if item.account_id is None else (item.account_id,))
        gate = Gate(seen.halts, self._latch.holds())
        book = Book(tx, self._clock, seen.now_us)
        book.hold(seen.accounts, seen.positions)
        await book.load_combos()
        account = self._account(item, book, seen.grants, need="view")
        around = _surroundings(item)
        checked = self._check_all(item, account, book, gate, around, {})
        plan = DryRunPlan(account)
        for position, (request, proposal) in enumerate(checked.orders):
            order, *children = self._order_rows(item, account, book, position, request, proposal, around)
            if checked.refused is not None:
                self._refuse(order, position, checked.refused)
            plan.rows.append(order)
            plan.children.append(children)
            plan.values.append(estimated_value(proposal) if _priced(proposal) else None)
        plan.buying_power = _buying_power(checked.standing)
        return plan

    # -- one claim ----------------------------------------------------------------------------------

    def _account(self, item: Claim, book: Book, grants: Grants, need: str = "trade") -> AccountRow:
        if item.problem is not None:
            raise item.problem
        account = book.accounts.get(item.account_id) if item.account_id is not None else None
        access = grants.get((item.principal.user_id, item.account_id or ""))
        if account is None or access is None:
            raise not_found("account")
        if need == "trade" and access != "trade":
            raise Problem(Code.FORBIDDEN, "You may look at this account but not trade in it; ask the owner.")
        return account

    def _known(self, item: Claim, intent: IntentRow, book: Book) -> Known:
        if not hmac.compare_digest(intent.fingerprint, item.fingerprint):
            raise key_reused()
        account = book.accounts.get(intent.account_id)
        # Filled in by _complete_known; a group member's own account is at hand already.
        return (
            Known(intent, account, [], book.now_us) if account else Known(intent, _NOWHERE, [], book.now_us)
        )

    async def _complete_known(self, tx: Tx, book: Book, results: list[ClaimResult | Exception]) -> None:
        waiting = [(i, r) for i, r in enumerate(results) if isinstance(r, Known)]
        if not waiting:
            return
        missing = [r.intent.account_id for _, r in waiting if r.account is _NOWHERE]
        accounts = await store.load_accounts(tx, missing) if missing else {}
        new = {intent_id for intent_id in (r.intent.id for _, r in waiting) if book.orders_of(intent_id)}
        earlier, stored = await load_intents(tx, [r.intent.id for _, r in waiting if r.intent.id not in new])
        intents = {one.id: one for one in earlier}
        for at, result in waiting:
            mine = (
                book.orders_of(result.intent.id)
                if result.intent.id in new
                else [order for order in stored if order.intent_id == result.intent.id]
            )
            account = accounts.get(result.intent.account_id, result.account)
            intent = intents.get(result.intent.id, result.intent)
            results[at] = Known(intent, account, mine, result.now_us)

    def _decide(
        self,
        item: Claim,
        account: AccountRow,
        book: Book,
        gate: Gate,
        adoptable: Adoptable,
        restored: bool,
    ) -> IntentRow:
        around = _surroundings(item)
        adopted = in_ledger(adoptable, account.id, self._client_ids(item, account.id)) if adoptable else {}
        old = (
            None
            if item.asked.replace is None or adopted
            else order_to_replace(book, item.asked.replace, account)
        )
        checked = self._check_all(item, account, book, gate, around, adopted, old)
        intent = self._intent_row(item, account, book, len(checked.orders))
        book.add_intent(intent)
        first = True
        for position, (request, proposal) in enumerate(checked.orders):
            if position in adopted:
                adopt(book, book.register(adopted[position]), intent, position)
                continue
            rows = self._order_rows(item, account, book, position, request, proposal, around)
            order = rows[0]
            if adopted and restored:
                # The key was used before the restore, and this order did not come to the broker then.
                order.state, order.reason = Submission.SKIPPED, reason_text(NOT_PLACED_THEN)
            elif checked.refused is not None:
                self._refuse(order, position, checked.refused)
            elif first:
                order.state = Submission.DISPATCHING
                order.dispatch_deadline_at = book.now_us + self._timings.dispatch_us
                first = False
            if old is not None:
                begin_replace(book, old, order)
                if request.order_class != "mleg":
                    # Exits stay as they are and hang on the new order; a spread's legs are new ones.
                    rows = rows[:1]
            for row in rows:
                row.state = order.state
                book.add_order(row)
        book.settle_intent(intent.id)
        self._write_audit(item, intent, account, book, checked.refused)
        return intent

    def _check_all(
        self,
        item: Claim,
        account: AccountRow,
        book: Book,
        gate: Gate,
        around: Surroundings,
        adopted: dict[int, OrderRow],
        old: OrderRow | None = None,
    ) -> Checked:
        """All orders of the call against one account that grows with each (contract E4). What is adopted is at the
        broker and in the account already: there is nothing left to allow, and nothing to count a second time. An
        order that is replaced counts as gone."""
        standing = book.standing(account.id, around.mark, without=[] if old is None else book.group_of(old))
        checked = Checked([], None, standing)
        for position, request in enumerate(orders_of_call(item, book, standing, adopted.get(0), old)):
            if position in adopted:
                checked.orders.append((request, same_order(request, adopted[position], around)))
                continue
            reason: Reason | None = None
            resolved = resolve(request, around, checked.standing)
            if isinstance(resolved, Reason):
                reason, proposal = resolved, as_proposal(request, ZERO, around)
                # A halt is the weightier no: what cannot be sized must still hear of it, and stay 423.
                halted = halt_reason(gate, account.id, item.principal.user_id, proposal, checked.standing)
                reason = halted or reason
            else:
                request, proposal = resolved
                reason = refuse(
                    request,
                    proposal,
                    account.id,
                    item.principal.user_id,
                    gate,
                    checked.standing,
                    around,
                    around.limits,
                )
                if old is not None:
                    reason = why_not_replaceable(old, item.asked.replace, around.capabilities) or reason
            checked.orders.append((request, proposal))
            if reason is not None and checked.refused is None:
                checked.refused = (position, reason)
            if reason is None:
                checked.standing = grown(proposal, checked.standing)
        return checked

    # -- rows ---------------------------------------------------------------------------------------

    @staticmethod
    def _refuse(order: OrderRow, position: int, refused: tuple[int, Reason]) -> None:
        if position == refused[0]:
            order.state = Submission.REFUSED
            order.reason = reason_text(refused[1])
        else:
            order.state = Submission.SKIPPED
            order.reason = reason_text(_SKIPPED_TOGETHER)

    def _intent_row(self, item: Claim, account: AccountRow, book: Book, count: int) -> IntentRow:
        return IntentRow(
            id=item.intent_id,
            user_id=item.principal.user_id,
            key=item.key,
            user_key=item.user_key,
            fingerprint=item.fingerprint,
            kind=item.asked.kind,
            account_id=account.id,
            credential=f"{item.principal.credential}:{item.principal.credential_id}",
            status="OPEN",
            http_status=None,
            body=None,
            corrected=0,
            order_count=count,
            claimed_at=book.now_us,
            expires_at=book.now_us + int(self._timings.call_budget_s * 1_000_000),
            unknown_at=None,
            final_at=None,
            request_id=item.request_id,
        )

    def _order_rows(
        self,
        item: Claim,
        account: AccountRow,
        book: Book,
        position: int,
        request: OrderRequest,
        proposal: Proposal,
        around: Surroundings,
    ) -> list[OrderRow]:
        """The row that is sent, and those of the exits or legs that hang on it."""
        quote = around.quotes.get(request.symbol)
        dry = item.is_dry_run
        client_id = (
            "" if dry else self.client_order_id(account.id, item.principal.user_id, item.key, position)
        )
        shared = {
            "account_id": account.id,
            "user_id": item.principal.user_id,
            "intent_id": item.intent_id,
            "position": position,
            "origin": "ours",
        }
        parent = blank_order(
            book.now_us,
            **shared,
            **parent_fields(request, proposal.qty),
            id="" if dry else new_id(self._clock, "ord"),
            client_order_id=client_id,
            reference_price=None
            if quote is None
            else money_to_int(quote.ask if request.side == "buy" else quote.bid),
            reserve_price=money_to_int(reserve_price(proposal)) if _priced(proposal) else 0,
        )
        children = [
            blank_order(
                book.now_us,
                **shared,
                **fields,
                id="" if dry else new_id(self._clock, "ord"),
                client_order_id=child_client_id(client_id, fields["group_role"], number),
                parent_id=parent.id,
            )
            for number, fields in enumerate(child_fields(request, proposal.qty))
        ]
        return [parent, *children]

    @staticmethod
    def _write_audit(
        item: Claim, intent: IntentRow, account: AccountRow, book: Book, refused: tuple[int, Reason] | None
    ) -> None:
        book.audit(
            AuditEntry(
                item.principal.actor,
                "order.claim" if refused is None else "order.refuse",
                intent.id,
                {
                    "account": account.id,
                    "kind": intent.kind,
                    "orders": intent.order_count,
                    **({} if refused is None else {"order": refused[0], "code": refused[1].code}),
                },
                item.request_id,
            )
        )

    def _outcome(
        self, item: Claim, intent: IntentRow, account: AccountRow, book: Book, stamp_s: float
    ) -> ClaimResult:
        done = book.final.get(intent.id)
        if done is not None:
            return Final(*done)
        orders = book.rows_of(intent.id)
        replacing = None if item.asked.replace is None else replacing_of(book, orders[0], item.asked.replace)
        return Claimed(intent, account, orders, stamp_s, replacing)

    async def _load_adoptable(self, tx: Tx, items: Sequence[Claim]) -> Adoptable:
        """Only a claim that has met a unique constraint before can meet its own id in the ledger; and a close, which an
        order that is there leaves nothing to close, or a replace, whose old order is not what it was."""
        met = (
            item
            for item in items
            if item.attempts or item.asked.close is not None or item.asked.replace is not None
        )
        again = [item for item in met if item.account_id is not None]
        ids = [one for item in again for one in self._client_ids(item, item.account_id or "")]
        if not ids:
            return {}
        return await store.find_orders_by_client_id(tx, [item.account_id or "" for item in again], ids)

    def _client_ids(self, item: Claim, account_id: str) -> list[str]:
        """The ids of the call's orders, by position; a close is one order."""
        count = max(1, len(item.asked.orders))
        return [self.client_order_id(account_id, item.principal.user_id, item.key, n) for n in range(count)]


def refuse_caller(principal: Principal, standing: dict[tuple[str, str], Role]) -> None:
    """Raises Problem unless the credential still stands, in this transaction (contracts A3, E9)."""
    role = standing.get((principal.credential, principal.credential_id))
    if role is None:
        raise Problem(Code.INVALID_TOKEN, "This session or token has ended; sign in again.")
    if role == "viewer":
        raise Problem(Code.FORBIDDEN, "A viewer cannot trade; ask the owner for another role.")


def _surroundings(item: Claim) -> Surroundings:
    if item.surroundings is None:
        raise Problem(Code.INTERNAL, "The request was not prepared.")
    return item.surroundings


def _priced(proposal: Proposal) -> bool:
    if proposal.legs:
        return all(leg.quote is not None for leg in proposal.legs)
    return proposal.quote is not None or proposal.limit_price is not None or proposal.stop_price is not None


def _buying_power(standing: Standing) -> Decimal | None:
    try:
        return buying_power(
            standing.cash, standing.exposures, standing.combos, margin=standing.margin,
            spreads=standing.spreads,
        )  # fmt: skip
    except ValueError:
        return None


_NOWHERE = AccountRow("", "", "", "", "", "", "", 0, 0, 0, 0, 0, 0, None, None, 0)
