"""Opening an account at the venue on terms of its own, and what terms an account has: what a reset needs."""

from dataclasses import replace

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from paiid.brokers import BrokerAccount
from paiid.core.db import Row, Tx, statement
from paiid.core.tables import paper_accounts
from paiid.domain.money import money_from_int, money_to_int
from paiid.domain.terms import AccountTerms

_OPEN = statement(insert(paper_accounts).on_conflict_do_nothing())
_FIND = statement(select(paper_accounts).where(paper_accounts.c.number == bindparam("b_number")))
_UNTOUCHED = 1
"""The version of an account in which nothing has been ordered yet."""


def row_of_terms(number: str, terms: AccountTerms, now_us: int) -> dict[str, object]:
    """A new account as a row of `paper_accounts`."""
    return {
        "number": number,
        "cash": money_to_int(terms.starting_cash),
        "status": "active",
        "open_orders": 0,
        "open_combos": 0,
        "version": _UNTOUCHED,
        "created_at": now_us,
        "margin": int(terms.margin),
        "options_level": terms.options_level,
        "fees": int(terms.fees),
        "impact": int(terms.impact),
        "price_improvement": money_to_int(terms.price_improvement_pct),
    }


def terms_from_row(row: Row) -> AccountTerms:
    """The terms in a row of `paper_accounts`; its cash of the moment stands for `starting_cash`."""
    return AccountTerms(
        starting_cash=money_from_int(row["cash"]),
        margin=bool(row["margin"]),
        options_level=row["options_level"],
        fees=bool(row["fees"]),
        impact=bool(row["impact"]),
        price_improvement_pct=money_from_int(row["price_improvement"]),
    )


async def open_account(tx: Tx, number: str, terms: AccountTerms) -> bool:
    """Open it; False where there is one of this number already, unless it is just this one and nothing has
    happened in it."""
    await tx.execute(_OPEN, row_of_terms(number, terms, await tx.now_us()))
    row = await tx.fetch_one(_FIND, {"b_number": number})
    return row is not None and row["version"] == _UNTOUCHED and terms_from_row(row) == terms


async def load_terms(tx: Tx, number: str, unopened: AccountTerms) -> AccountTerms:
    """The terms of an account; `unopened` are those of one that its first order will open."""
    row = await tx.fetch_one(_FIND, {"b_number": number})
    if row is None:
        return unopened
    return replace(terms_from_row(row), starting_cash=unopened.starting_cash)


async def load_account(tx: Tx, account_number: str, terms: AccountTerms) -> BrokerAccount:
    """Cash, status and terms; an account that nothing was ever ordered in is told as it would be opened."""
    row = await tx.fetch_one(_FIND, {"b_number": account_number})
    if row is None:
        return BrokerAccount(account_number, terms.starting_cash, "active", terms.margin, terms.options_level)
    there = terms_from_row(row)
    return BrokerAccount(
        account_number, there.starting_cash, row["status"], there.margin, there.options_level
    )
