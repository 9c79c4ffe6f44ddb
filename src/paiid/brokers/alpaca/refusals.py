"""Alpaca's refusals told apart: its codes are families, so status, code and words together decide (section 4)."""

import re
from collections.abc import Mapping
from typing import Any

from paiid.brokers import BrokerError, BrokerRejected, OutcomeUnknown
from paiid.wires.values import fields_of, message_of, text_of

REFUSED = frozenset({400, 401, 403, 404, 422, 429})
"""With these, nothing was placed (contract E11), but for a 422 that says the id was used before."""

_WORDS: tuple[tuple[str, str], ...] = (
    (r"wash trade", "wash_trade"),
    (r"uncovered|covered call|cash.secured put", "uncovered_option"),
    (r"buying power|insufficient balance|insufficient funds", "insufficient_buying_power"),
    (r"insufficient qty|insufficient quantity|insufficient underlying", "insufficient_qty"),
    (r"fractionable|fractional", "not_fractionable"),
    (r"rejected by user request", "account_suspended"),
    (r"not allowed to short|cannot be sold short|not shortable", "not_shortable"),
    (r"cannot open a (short sell|long buy)", "opposite_side_open"),
    (r"pattern day trad", "pattern_day_trading"),
    (r"already in .* state|not cancel[l]?able|cannot be cancel[l]?ed", "not_cancelable"),
    (r"not replac(e)?able|cannot (be )?replace", "not_replaceable"),
    (r"only allowed during market hours|market is closed", "market_closed"),
    (r"asset .* not found|option contract .* not found|invalid symbol", "unknown_symbol"),
    (r"not tradable|orders not allowed for account", "not_tradable"),
    (r"sub-penny|minimum pricing", "price_increment"),
    (r"position intent mismatch", "position_intent_mismatch"),
    (r"stop price must be", "stop_price_beyond_market"),
    (r"notional must be >=", "below_min_notional"),
    (r"extended hours", "extended_hours_not_supported"),
    (r"time.in.force", "time_in_force_not_supported"),
    (r"opg orders|cls orders", "outside_auction_window"),
    (r"account .*(blocked|not active|closed)|trading .*blocked", "account_blocked"),
    (r"cannot exercise", "cannot_exercise"),
)
_PATTERNS = tuple((re.compile(words, re.IGNORECASE), code) for words, code in _WORDS)
_USED_BEFORE = re.compile(r"must be unique", re.IGNORECASE)
_NO_SUCH_ROUTE = re.compile(r"endpoint not found|page not found", re.IGNORECASE)
_LEGACY_DAY_TRADING = "40310100"


def failure(method: str, status: int, data: object, *, readable: bool) -> BrokerError:
    """What an answer that is no 2xx means: BrokerRejected where it is a definite no, else OutcomeUnknown.

    `data` is the parsed body; `readable` False says that it was no JSON at all (a 401 of clock and calendar is HTML).
    """
    body = fields_of(data)
    words = message_of(body.get("message"))
    if _USED_BEFORE.search(words):
        return OutcomeUnknown("this id was used before: an order with it may be there")
    if status == 422 and not words:
        # It might be the one 422 that proves the opposite.
        return OutcomeUnknown("a refusal that could not be read (422)")
    if status not in REFUSED:
        return OutcomeUnknown(f"the broker answered {status}{': ' + words if words else ''}")
    code = _code(method, status, text_of(body.get("code")) or "", words, readable=readable)
    return BrokerRejected(code, words or _DEFAULT_WORDS[status])


_DEFAULT_WORDS: Mapping[int, str] = {
    400: "The broker could not read the request.",
    401: "The broker does not accept the keys.",
    403: "The broker refuses this.",
    404: "The broker knows nothing there.",
    422: "The broker cannot take this.",
    429: "The broker was asked too often within a minute.",
}


def _code(method: str, status: int, told: str, words: str, *, readable: bool) -> str:
    if status == 401:
        return "invalid_credentials"
    if status == 429:
        return "rate_limited"
    if told == _LEGACY_DAY_TRADING:
        return "pattern_day_trading"
    if status == 404:
        # A proxy's page, or a wrong base address, is not the broker's word that an order does not exist.
        if not readable or _NO_SUCH_ROUTE.search(words) or not (words or told):
            return "endpoint_not_found"
        return "unknown_symbol" if "contract" in words or "asset" in words else "not_found"
    found = next((code for pattern, code in _PATTERNS if pattern.search(words)), None)
    if found is not None:
        return found
    if status == 403:
        return "forbidden"
    # What is refused and why nobody knows is refused for what was asked.
    return {"DELETE": "not_cancelable", "PATCH": "not_replaceable"}.get(
        method, "malformed_request" if status == 400 else "invalid_order"
    )


def without(secrets: tuple[str, ...], error: BrokerError) -> BrokerError:
    """The same refusal, should its words repeat one of our keys, without it."""
    hidden: dict[str, Any] = {one: "[hidden]" for one in secrets if one in str(error)}
    if not hidden:
        return error
    words = str(error)
    for one, instead in hidden.items():
        words = words.replace(one, instead)
    return BrokerRejected(error.code, words) if isinstance(error, BrokerRejected) else type(error)(words)
