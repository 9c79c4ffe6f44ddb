"""Order templates: orders a user keeps for later. Using one goes the way of every order, under a key of its own."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic_core import PydanticCustomError

from paiid.auth.store import lock_user
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, Tx
from paiid.domain.errors import Code, FieldError, Problem, invalid_field, not_found
from paiid.domain.identity import Principal
from paiid.domain.money import plain
from paiid.domain.orders import OrderRequest
from paiid.trading.commands import TemplateUse
from paiid.trading.if_match import require_version
from paiid.trading.order_shapes import check_shape
from paiid.trading.queries import NEWEST
from paiid.trading.template_store import (
    Draft,
    Template,
    add_template,
    count_templates,
    drop_template,
    find_named,
    find_template,
    load_template_page,
    save_template,
)

MOST_TEMPLATES = 200
"""Templates of one user."""
_OURS = {"qty": "quantity", "type": "order_type"}
"""Fields of an order that a template calls by another name."""


class TemplateService:
    """Keeps the templates of each user; another's is not there for him (404)."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def list_templates(
        self, user_id: str, after: str | None, limit: int
    ) -> tuple[list[Template], str | None]:
        """A page, newest first, and what the next one continues behind."""
        async with self._db.read() as tx:
            rows = await load_template_page(tx, user_id, after or NEWEST, limit + 1)
        shown = rows[:limit]
        return shown, shown[-1].id if len(rows) > limit else None

    async def find(self, user_id: str, template_id: str) -> Template:
        """One template. Raises Problem (404)."""
        async with self._db.read(brief=True) as tx:
            return _there(await find_template(tx, user_id, template_id))

    async def make(self, user: Principal, draft: Draft, request_id: str | None = None) -> Template:
        """Keep a new one. Raises Problem (409) for a name that is taken, and beyond 200 templates."""
        async with self._db.begin() as tx:
            await _lock(tx, user)
            if await count_templates(tx, user.user_id) >= MOST_TEMPLATES:
                raise Problem(
                    Code.CONFLICT, f"A user has at most {MOST_TEMPLATES} templates; delete one first."
                )
            await _require_free(tx, user.user_id, draft.name, None)
            now_us = await tx.now_us()
            made = Template(new_id(self._clock, "tpl"), user.user_id, draft, 1, now_us, now_us)
            await add_template(tx, made)
            await self._audit(
                tx, now_us, user, "template.make", made, {"template": _shown(draft)}, request_id
            )
        return made

    async def change(
        self,
        user: Principal,
        template_id: str,
        draft: Draft,
        seen: int | None,
        request_id: str | None = None,
    ) -> Template:
        """Replace it whole; what changes nothing keeps its version. `seen` is the version that must still stand.

        Raises Problem: 404, 409 for a name that is taken, 412 where the version has moved on.
        """
        async with self._db.begin() as tx:
            await _lock(tx, user)
            before = _there(await find_template(tx, user.user_id, template_id))
            require_version(seen, before.version, "template")
            if before.draft == draft:
                return before
            await _require_free(tx, user.user_id, draft.name, template_id)
            now_us = await tx.now_us()
            after = replace(before, draft=draft, version=before.version + 1, updated_at=now_us)
            await save_template(tx, after)
            old, new = _shown(before.draft), _shown(draft)
            detail = {"changes": {name: [old[name], new[name]] for name in new if old[name] != new[name]}}
            await self._audit(tx, now_us, user, "template.change", after, detail, request_id)
        return after

    async def drop(self, user: Principal, template_id: str, request_id: str | None = None) -> None:
        """Delete it; orders that were made with it stay. Raises Problem (404)."""
        async with self._db.begin() as tx:
            await _lock(tx, user)
            gone = _there(await find_template(tx, user.user_id, template_id))
            await drop_template(tx, template_id)
            now_us = await tx.now_us()
            detail = {"template": _shown(gone.draft)}
            await self._audit(tx, now_us, user, "template.drop", gone, detail, request_id)

    async def orders_of(self, user_id: str, use: TemplateUse) -> tuple[OrderRequest, ...]:
        """The orders that a use comes to now: what `use` names counts, the rest is the template's.

        Raises Problem: 404 where the user has no such template, 422 where the two do not go together.
        """
        draft = (await self.find(user_id, use.template_id)).draft
        order = OrderRequest(
            symbol=draft.symbol,
            side=draft.side,
            type=draft.order_type,
            time_in_force="day",
            qty=draft.qty if use.qty is None else use.qty,
            limit_price=draft.limit_price if use.limit_price is None else use.limit_price,
            stop_price=None,
        )
        try:
            check_shape(order)
        except PydanticCustomError as wrong:
            field = str((wrong.context or {}).get("at", "body"))
            raise invalid_field(_OURS.get(field, field), wrong.type, wrong.message()) from None
        return (order,)

    async def _audit(
        self,
        tx: Tx,
        now_us: int,
        user: Principal,
        action: str,
        template: Template,
        detail: Mapping[str, Any],
        request_id: str | None,
    ) -> None:
        entry = AuditEntry(
            user.actor, action, template.id, {"version": template.version, **detail}, request_id
        )
        await write_audit(tx, self._clock, now_us, [entry])


async def _lock(tx: Tx, user: Principal) -> None:
    """One change of his templates at a time, so that neither name nor number is judged by what is gone."""
    found = await lock_user(tx, user.user_id)
    if found is None or not found.active:
        raise Problem(Code.INVALID_TOKEN, "This user may no longer act.")


async def _require_free(tx: Tx, user_id: str, name: str, own_id: str | None) -> None:
    if await find_named(tx, user_id, name) not in (None, own_id):
        words = "You have a template of this name already; choose another."
        raise Problem(Code.CONFLICT, words, errors=[FieldError("name", "taken", words)])


def _there(found: Template | None) -> Template:
    if found is None:
        raise not_found("template")
    return found


def _shown(draft: Draft) -> dict[str, str | None]:
    """The draft as the audit keeps it."""
    values = {one.name: getattr(draft, one.name) for one in fields(draft)}
    values |= {name: plain(values[name]) for name in ("qty", "limit_price") if values[name] is not None}
    return {name: None if value is None else str(value) for name, value in values.items()}
