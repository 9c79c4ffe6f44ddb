"""What the states of an order mean, in sentences for its owner (contracts E5, E7, E14)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paiid.ai.facts import Fact

_STATES = {
    "QUEUED": "It waits for its turn and has not been sent yet.",
    "DISPATCHING": "It is being sent to the broker at this moment.",
    "REFUSED": "It was refused here, before anything was sent for it; it has bought and sold nothing.",
    "SKIPPED": "It was not sent and never will be; it has bought and sold nothing.",
    "REJECTED": "The broker definitely refused it, or it was definitely not sent; nothing was bought or sold.",
    "UNKNOWN": (
        "The broker did not say whether it has the order. It is being looked up by our own id and is never sent again; "
        "do not send another in its place."
    ),
    "NOT_PLACED": "What became of it was in doubt. It counts as not placed; it has bought and sold nothing.",
    "ACCEPTED": "The broker has accepted it.",
}
_STATUSES = {
    "NEW": "It works at the broker and has not filled.",
    "PARTIALLY_FILLED": "It has filled in part and goes on working.",
    "FILLED": "It has filled completely.",
    "CANCELED": "It was cancelled; what had filled before stays filled.",
    "EXPIRED": "Its time ended before it filled completely.",
    "REPLACED": "Another order has taken its place.",
    "REJECTED": "The broker has rejected it after taking it.",
    "HELD": "The broker holds it until the order that it hangs on has filled.",
}
_PENDING = {
    "PENDING_CANCEL": "A cancel has been asked for, and the broker has not confirmed it.",
    "PENDING_REPLACE": "A replace has been asked for, and the broker has not confirmed it.",
}
_ADVICE = {
    "trading_halted": "A halt stood against it; its refusal is final for its key, so send a new order once trading has resumed.",
    "insufficient_buying_power": "Buying power was not enough; reduce the quantity or free some.",
    "market_closed": "Send it again when the market is open, or as a limit order that may wait.",
    "stale_price": "Its price could not be checked because market data were stale; nothing is made up, so it was refused.",
    "no_market_data": "Its price could not be checked because market data were missing.",
    "unknown_symbol": "Check the spelling of the symbol.",
    "account_not_reconciled": "The books did not agree with the broker's; nothing is opened until they do.",
}


def quoted(words: str) -> str:
    """Somebody's words between quotation marks, which nothing inside can end."""
    return '"' + " ".join(words.replace('"', "'").split()) + '"'


def order_sentences(
    words: Mapping[str, Any], facts: Mapping[str, Fact], say: Callable[[Fact], str]
) -> Iterator[str]:
    """What it is, where it stands, and why."""
    size = next((f" {say(facts[name])}" for name in ("qty", "notional") if name in facts), "")
    prices = "".join(
        f", {what} {say(facts[name])}"
        for name, what in (
            ("limit_price", "limit"),
            ("stop_price", "stop"),
            ("trail_price", "trail"),
            ("trail_percent", "trail"),
        )
        if name in facts
    )
    yield f"Order {words['id']}: {words['side']} {words['symbol']},{size}, {words['type']}, {words['time_in_force']}{prices}."
    if words.get("group_role"):
        yield f"It is the {words['group_role'].replace('_', ' ')} of a {words['order_class']}."
    state, status = words["state"], words.get("status")
    if state != "ACCEPTED" or status is None:
        yield _STATES.get(state, f"Its state is {state}.")
    if status is not None:
        yield _STATUSES.get(status, f"Its status is {status}.")
    if words.get("pending") in _PENDING:
        yield _PENDING[words["pending"]]
    filled = facts.get("filled_qty")
    if filled is not None and filled.value:
        at = f" at {say(facts['filled_avg_price'])} on average" if "filled_avg_price" in facts else ""
        fees = f", fees {say(facts['fees'])}" if "fees" in facts and facts["fees"].value else ""
        yield f"So far: {say(filled)}{at}{fees}."
    yield from _reason(words, facts, say)


def _reason(words: Mapping[str, Any], facts: Mapping[str, Fact], say: Callable[[Fact], str]) -> Iterator[str]:
    code = words.get("reason_code")
    if code is None:
        return
    yield f"The reason on record ({code}): {quoted(words['reason_words'])}"
    measured = [
        f"{what} {say(facts[name])}"
        for name, what in (("measured", "measured"), ("limit", "allowed"))
        if name in facts
    ]
    if measured:
        yield f"In figures: {', '.join(measured)}."
    if code in _ADVICE:
        yield _ADVICE[code]
