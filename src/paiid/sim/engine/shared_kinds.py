"""The kinds of faults that every simulated broker has: of answers, of orders, of updates, of the market's ticks."""

from collections.abc import Iterable

from paiid.sim.engine.fault_kinds import Kind, Param

__all__ = ["answer_kinds", "by_name", "chain_kinds", "order_kinds", "tick_kinds", "update_kinds"]

_MAX_BYTES = 1 << 30
_MAX_SHIFT_MS = 10 * 365 * 86_400_000
_HANDLED = Param("bool", True)
_NOT_HANDLED = Param("bool", False)


def by_name(*some: Iterable[Kind]) -> dict[str, Kind]:
    """All of them in one mapping."""
    return {one.name: one for kinds in some for one in kinds}


def answer_kinds(rest: tuple[str, ...], writes: tuple[str, ...], location: str) -> tuple[Kind, ...]:
    """What happens to a request or its answer, on any of the operations of `rest`; `writes` are those that change
    something, `location` is where a redirect leads if nothing is said."""
    return (
        Kind("answer_lost", "handled, then the connection is cut before the answer", rest, "submit"),
        Kind("refuse_before", "5xx, not handled", rest, "submit", {"status": Param("int", 503, 500, 599)}),
        Kind("fail_after", "handled, then 5xx", rest, "submit", {"status": Param("int", 500, 500, 599)}),
        Kind(
            "rate_limited",
            "429 with rate limit headers, not handled",
            rest,
            "submit",
            {"reset_s": Param("int", 1, 0, 3600)},
        ),
        Kind(
            "slow",
            "the request waits before it is handled, the answer after",
            rest,
            "submit",
            {"before_ms": Param("int", 0), "after_ms": Param("int", 0)},
        ),
        Kind("reset_mid_body", "handled, then half of the answer and a reset", rest, "submit"),
        Kind("garbage", "200 with a body that is no JSON", rest, "submit", {"handled": _HANDLED}),
        Kind("html", "200 with an HTML page", rest, "submit", {"handled": _HANDLED}),
        Kind("late_accept", "504 now, handled later", writes, "submit", {"delay_ms": Param("int", 1000)}),
        Kind(
            "redirect",
            "307 to another place",
            rest,
            "submit",
            {"location": Param("text", location), "handled": _NOT_HANDLED},
        ),
        Kind(
            "huge",
            "200 with a huge body",
            rest,
            "list",
            {"bytes": Param("int", 50_000_000, 1, _MAX_BYTES), "handled": _HANDLED},
        ),
        Kind("trickle", "the body of the answer byte by byte", rest, "submit", {"every_ms": Param("int", 20, 1)}),
    )  # fmt: skip


def order_kinds(orders: tuple[str, ...], rest: tuple[str, ...], filled: str) -> tuple[Kind, ...]:
    """What happens to an order or to how it is told. Answers to `orders` hold orders; `filled` is what their filled
    quantity is called."""
    return (
        Kind(
            "lookup_lag",
            "orders younger than lag_ms are not found and not listed",
            ("lookup",),
            "lookup",
            {"lag_ms": Param("int", 1000)},
            is_asked=True,
        ),
        Kind(
            "not_found_once",
            "the first look-up of an order does not find it, the next one does",
            ("lookup",),
            "lookup",
            is_asked=True,
        ),
        Kind(
            "unknown_status",
            "orders with a status that nobody knows",
            (*orders, "stream"),
            "lookup",
            {"status": Param("text", "under_consideration")},
        ),
        Kind(
            "missing_fields",
            "fields are left out, or are of another type",
            (*rest, "stream"),
            "lookup",
            {"remove": Param("texts", ("id", filled)), "set": Param("object", {"status": 7})},
        ),
        Kind(
            "cancel_slow",
            "a cancel takes effect late",
            ("cancel",),
            "cancel",
            {"delay_ms": Param("int", 1000)},
            is_asked=True,
            knows_symbol=True,
        ),
        Kind(
            "cancel_fill_race",
            "the cancel is answered as if it were done, and the order fills instead",
            ("cancel",),
            "cancel",
            {"timeout_ms": Param("int", 5000)},
        ),
        Kind(
            "fill_before_answer",
            "the answer waits until the update of the fill was sent",
            ("submit",),
            "submit",
            {"timeout_ms": Param("int", 5000)},
        ),
        Kind(
            "partial_fill_burst",
            "the order fills in many small prints",
            ("submit",),
            "submit",
            {"prints": Param("int", 10, 2, 1000)},
        ),
    )


def update_kinds() -> tuple[Kind, ...]:
    """What happens to an update of the account's stream; the last two can befall the market's as well."""
    stream, both = ("stream",), ("stream", "ticks")
    return (
        Kind("update_duplicated", "the update is sent twice", stream, "stream", {"times": Param("int", 2, 2, 100)}),
        Kind(
            "update_reordered",
            "the update is sent behind the next one",
            stream,
            "stream",
            {"wait_ms": Param("int", 1000)},
        ),
        Kind("update_late", "the update is sent late", stream, "stream", {"delay_ms": Param("int", 1000)}),
        Kind("update_missing", "the update is never sent", stream, "stream"),
        Kind("disconnect", "the socket is cut instead of the update", both, "stream"),
        Kind(
            "silent",
            "the socket stays open and says nothing any more",
            both,
            "stream",
            {"deaf": Param("bool", False)},
        ),
    )  # fmt: skip


def tick_kinds() -> tuple[Kind, ...]:
    """What happens to a message of the market on its way to one account."""
    ticks = ("ticks",)
    times, wait_ms = Param("int", 2, 2, 100), Param("int", 1000)
    sides = {"bid": Param("bool", True), "ask": Param("bool", True)}
    shift_ms = Param("int", -60_000, -_MAX_SHIFT_MS, _MAX_SHIFT_MS)
    return (
        Kind("tick_missing", "a message of the market is never sent", ticks, "ticks"),
        Kind("quote_duplicated", "a quote is sent twice", ticks, "ticks", {"times": times}, event="quote"),
        Kind(
            "quote_reordered",
            "a quote is sent behind the next one of its symbol",
            ticks,
            "ticks",
            {"wait_ms": wait_ms},
            event="quote",
        ),
        Kind("quote_crossed", "a quote whose bid is above its ask", ticks, "ticks", event="quote"),
        Kind("quote_zero", "a quote without prices", ticks, "ticks", sides, event="quote"),
        Kind(
            "quote_time",
            "a quote of another time, of the past or (above 0) the future",
            ticks,
            "ticks",
            {"shift_ms": shift_ms},
            event="quote",
        ),
        Kind(
            "quote_burst",
            "many quotes at once, the true one last",
            ticks,
            "ticks",
            {"quotes": Param("int", 1000, 1, 100_000)},
            event="quote",
        ),
        Kind("frame_garbage", "a frame that no decoder takes, in place of the message", ticks, "ticks"),
        Kind(
            "message_unknown",
            "a message of a type that nobody knows, and then the true one",
            ticks,
            "ticks",
            {"type": Param("text", "zz")},
        ),
    )


def chain_kinds() -> tuple[Kind, ...]:
    """What happens to the contracts of an option chain."""
    chain = ("chain",)
    every = {"every": Param("int", 1, 1, 1000)}
    return (
        Kind("chain_nan", "prices and Greeks that are no numbers", chain, "chain", every),
        Kind("chain_zero", "quotes without prices", chain, "chain", every),
        Kind("chain_negative", "prices and volatilities below zero", chain, "chain", every),
        Kind("chain_crossed", "bids above the asks", chain, "chain", every),
        Kind("chain_no_greeks", "neither Greeks nor volatilities", chain, "chain", every),
        Kind("chain_no_quote", "neither quotes nor trades", chain, "chain", every),
        Kind("chain_odd", "fields of other types, and one that nobody knows", chain, "chain", every),
    )
