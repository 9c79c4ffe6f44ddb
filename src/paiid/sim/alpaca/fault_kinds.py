"""The catalogue of scripted faults: what each one does, where it can be played, and what can be set about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "ALL_KINDS",
    "DATA_KINDS",
    "HTTP_OPERATIONS",
    "KINDS",
    "OPERATIONS",
    "BadFault",
    "Kind",
    "Param",
    "operation_of",
    "parse_params",
]

HTTP_OPERATIONS = (
    "submit",
    "replace",
    "cancel",
    "cancel_all",
    "close",
    "lookup",
    "list",
    "account",
    "positions",
    "activities",
    "data",
)
"""`data` is every request for market data."""
DATA_STREAM_OPERATIONS = ("ticks", "connect", "hangup")
"""Of the market data stream: a message of the market, an authentication, the end of a socket that was authenticated."""
CHAIN = "chain"
"""A page of an option chain, which is spoiled from inside."""
OPERATIONS = (*HTTP_OPERATIONS, "stream", *DATA_STREAM_OPERATIONS, CHAIN, "any")
"""`any` is every request of the REST API, others than those named here too; never the control endpoint."""
NO_REQUESTS = frozenset({"stream", *DATA_STREAM_OPERATIONS, CHAIN})
"""What `any` does not mean."""
_MAX_DELAY_MS = 600_000
_MAX_BYTES = 1 << 30
_MAX_SHIFT_MS = 10 * 365 * 86_400_000


class BadFault(ValueError):
    """A fault that cannot be played: which field, and why."""

    def __init__(self, field_name: str, reason: str) -> None:
        super().__init__(f"{field_name}: {reason}")
        self.field = field_name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its type, what it is if it is not given, and its bounds."""

    type: Literal["int", "text", "bool", "texts", "object"]
    default: Any
    least: int = 0
    most: int = _MAX_DELAY_MS


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `default_on` is where it is played if the wish does not say, `event` on which messages only."""

    name: str
    says: str
    on: tuple[str, ...]
    default_on: str
    params: Mapping[str, Param] = field(default_factory=dict)
    event: str | None = None


_REST = (*HTTP_OPERATIONS, "any")
_BOTH = (*HTTP_OPERATIONS, "stream", "any")
_STREAMS = ("stream", "ticks")
_HANDLED = Param("bool", True)
_NOT_HANDLED = Param("bool", False)
_READS = ("lookup", "list")


def _kinds() -> dict[str, Kind]:
    kinds = (
        Kind("answer_lost", "handled, then the connection is cut before the answer", _REST, "submit"),
        Kind("refuse_before", "5xx, not handled", _REST, "submit", {"status": Param("int", 503, 500, 599)}),
        Kind("fail_after", "handled, then 5xx", _REST, "submit", {"status": Param("int", 500, 500, 599)}),
        Kind(
            "rate_limited",
            "429 with rate limit headers, not handled",
            _REST,
            "submit",
            {"reset_s": Param("int", 1, 0, 3600)},
        ),
        Kind(
            "slow",
            "the request waits before it is handled, the answer after",
            _REST,
            "submit",
            {"before_ms": Param("int", 0), "after_ms": Param("int", 0)},
        ),
        Kind("reset_mid_body", "handled, then half of the answer and a reset", _REST, "submit"),
        Kind("garbage", "200 with a body that is no JSON", _REST, "submit", {"handled": _HANDLED}),
        Kind("html", "200 with an HTML page", _REST, "submit", {"handled": _HANDLED}),
        Kind(
            "late_accept",
            "504 now, handled later",
            ("submit", "replace", "cancel", "cancel_all", "close"),
            "submit",
            {"delay_ms": Param("int", 1000)},
        ),
        Kind(
            "lookup_lag",
            "orders younger than lag_ms are not found and not listed",
            ("lookup",),
            "lookup",
            {"lag_ms": Param("int", 1000)},
        ),
        Kind("not_found_once", "the first look-up of an order is 404, the next one finds it", ("lookup",), "lookup"),
        Kind(
            "redirect",
            "307 to another place",
            _REST,
            "submit",
            {"location": Param("text", "https://redirected.invalid/v2/orders"), "handled": _NOT_HANDLED},
        ),
        Kind(
            "huge",
            "200 with a huge body",
            _REST,
            "list",
            {"bytes": Param("int", 50_000_000, 1, _MAX_BYTES), "handled": _HANDLED},
        ),
        Kind(
            "trickle",
            "the body of the answer byte by byte",
            _REST,
            "submit",
            {"every_ms": Param("int", 20, 1)},
        ),
        Kind(
            "unknown_status",
            "orders with a status that nobody knows",
            ("submit", "replace", "lookup", "list", "close", "stream"),
            "lookup",
            {"status": Param("text", "under_consideration")},
        ),
        Kind(
            "missing_fields",
            "fields are left out, or are of another type",
            _BOTH,
            "lookup",
            {"remove": Param("texts", ("id", "filled_qty")), "set": Param("object", {"status": 7})},
        ),
        Kind("cancel_slow", "a cancel takes effect late", ("cancel",), "cancel", {"delay_ms": Param("int", 1000)}),
        Kind(
            "cancel_fill_race",
            "the cancel is answered 204, and the order fills instead",
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
        Kind("update_duplicated", "the update is sent twice", ("stream",), "stream", {"times": Param("int", 2, 2, 100)}),
        Kind("update_reordered", "the update is sent behind the next one", ("stream",), "stream", {"wait_ms": Param("int", 1000)}),
        Kind("update_late", "the update is sent late", ("stream",), "stream", {"delay_ms": Param("int", 1000)}),
        Kind("update_missing", "the update is never sent", ("stream",), "stream"),
        Kind("disconnect", "the socket is cut instead of the update", _STREAMS, "stream"),
        Kind(
            "silent",
            "the socket stays open and says nothing any more",
            _STREAMS,
            "stream",
            {"deaf": Param("bool", False)},
        ),
    )  # fmt: skip
    return {one.name: one for one in kinds}


KINDS = _kinds()
"""Faults of the trading API; some of them can be played on market data as well."""


def _data_kinds() -> dict[str, Kind]:
    ticks = ("ticks",)
    kinds = (
        Kind("tick_missing", "a message of the market is never sent", ticks, "ticks"),
        Kind(
            "quote_duplicated",
            "a quote is sent twice",
            ticks,
            "ticks",
            {"times": Param("int", 2, 2, 100)},
            event="quote",
        ),
        Kind(
            "quote_reordered",
            "a quote is sent behind the next one of its symbol",
            ticks,
            "ticks",
            {"wait_ms": Param("int", 1000)},
            event="quote",
        ),
        Kind("quote_crossed", "a quote whose bid is above its ask", ticks, "ticks", event="quote"),
        Kind(
            "quote_zero",
            "a quote without prices",
            ticks,
            "ticks",
            {"bid": Param("bool", True), "ask": Param("bool", True)},
            event="quote",
        ),
        Kind(
            "quote_time",
            "a quote of another time, of the past or (above 0) the future",
            ticks,
            "ticks",
            {"shift_ms": Param("int", -60_000, -_MAX_SHIFT_MS, _MAX_SHIFT_MS)},
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
        Kind("connection_limit", "the authentication is answered with error 406", ("connect",), "connect"),
        Kind(
            "slot_held",
            "the place of a socket that has ended stays taken for a while",
            ("hangup",),
            "hangup",
            {"hold_ms": Param("int", 5000)},
        ),
    )
    return {one.name: one for one in kinds}


def _chain_kinds() -> dict[str, Kind]:
    chain = (CHAIN,)
    every = {"every": Param("int", 1, 1, 1000)}
    kinds = (
        Kind("chain_nan", "prices and Greeks that are no numbers", chain, CHAIN, every),
        Kind("chain_zero", "quotes without prices", chain, CHAIN, every),
        Kind("chain_negative", "prices and volatilities below zero", chain, CHAIN, every),
        Kind("chain_crossed", "bids above the asks", chain, CHAIN, every),
        Kind("chain_no_greeks", "neither Greeks nor volatilities", chain, CHAIN, every),
        Kind("chain_no_quote", "neither quotes nor trades", chain, CHAIN, every),
        Kind("chain_odd", "fields of other types, and one that nobody knows", chain, CHAIN, every),
        Kind("chain_page_lost", "a page behind the first is answered 500", chain, CHAIN, event="later_page"),
        Kind("chain_endless", "the token of the next page is that of this one", chain, CHAIN),
    )
    return {one.name: one for one in kinds}


DATA_KINDS = {**_data_kinds(), **_chain_kinds()}
"""Faults of market data alone: of the stream, and of option chains."""
ALL_KINDS = {**KINDS, **DATA_KINDS}


_DATA = frozenset(
    {("v2", "stocks"), ("v1beta1", "options"), ("v1", "corporate-actions"), ("v1beta1", "corporate-actions")}
)


def operation_of(method: str, path: str) -> str:
    """What a request of the REST API is about; "other" for what no fault names but `any`."""
    parts = path.rstrip("/").split("/")[1:]
    if tuple(parts[:2]) in _DATA:
        return "data"
    if len(parts) < 2 or parts[0] != "v2":
        return "other"
    place, deeper = parts[1], len(parts) > 2
    if place == "orders":
        alone = {"POST": "submit", "GET": "list", "DELETE": "cancel_all"}
        one = {"PATCH": "replace", "GET": "lookup", "DELETE": "cancel"}
        return (one if deeper else alone).get(method, "other")
    if place == "orders:by_client_order_id":
        return "lookup"
    if place == "positions":
        return "positions" if method == "GET" else "close" if method == "DELETE" else "other"
    if place == "account":
        return "activities" if parts[2:3] == ["activities"] else "account"
    return "other"


def parse_params(kind: Kind, given: Any) -> dict[str, Any]:
    """All parameters of a fault, those that are not given at their default. Raises BadFault."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise BadFault("params", "must be an object")
    for name in given:
        if name not in kind.params:
            known = ", ".join(kind.params) or "none"
            raise BadFault(f"params.{name}", f"{kind.name} has no such parameter; it has: {known}")
    return {
        name: _value(f"params.{name}", given.get(name, param.default), param)
        for name, param in kind.params.items()
    }


def _value(name: str, value: Any, param: Param) -> Any:
    if param.type == "int":
        if isinstance(value, bool) or not isinstance(value, int) or not param.least <= value <= param.most:
            raise BadFault(name, f"must be a whole number from {param.least} to {param.most}")
    elif param.type == "bool":
        if not isinstance(value, bool):
            raise BadFault(name, "must be true or false")
    elif param.type == "text":
        if (
            not isinstance(value, str)
            or not 1 <= len(value) <= 2000
            or not value.isascii()
            or not value.isprintable()
        ):
            raise BadFault(name, "must be a text of 1 to 2000 printable ASCII characters")
    elif param.type == "texts":
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            raise BadFault(name, "must be a list of texts")
        value = list(value)
    elif not isinstance(value, dict):
        raise BadFault(name, "must be an object")
    return value
