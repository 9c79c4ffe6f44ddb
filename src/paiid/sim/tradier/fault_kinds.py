"""The faults of the simulated Tradier: every kind it plays, and which request is about what."""

from paiid.sim.engine.fault_kinds import Catalogue, Kind, Param
from paiid.sim.engine.shared_kinds import (
    answer_kinds,
    by_name,
    chain_kinds,
    order_kinds,
    tick_kinds,
    update_kinds,
)

__all__ = ["ALL_KINDS", "CATALOGUE", "DATA_KINDS", "HTTP_OPERATIONS", "KINDS", "OPERATIONS", "operation_of"]

HTTP_OPERATIONS = (
    "submit",
    "preview",
    "replace",
    "cancel",
    "lookup",
    "list",
    "account",
    "positions",
    "activities",
    "session",
    "data",
)
"""`account` is balances and profile, `activities` history and gainloss, `session` the making of a session of either
stream, `data` every other request for market data."""
OPERATIONS = (*HTTP_OPERATIONS, "accepted", "stream", "ticks", "connect", "chain", "any")
"""`accepted` is an order that has been taken, `stream` an update of the account's stream, `ticks` a message of the market's, `connect` the opening of the
market's stream or of a session of it, `chain` an option chain, `any` every request of the REST API."""
_REST = (*HTTP_OPERATIONS, "any")
_WRITES = ("submit", "replace", "cancel")
_ONE_ORDER = ("lookup", "replace", "cancel")
_HANDLED = {"handled": Param("bool", False)}
_CODES = ("Backoffice rejected override of the order.", "DayTradingBuyingPowerExceeded")


def _own_kinds() -> tuple[Kind, ...]:
    return (
        Kind(
            "backend_down",
            "500 with the text of an outage; not handled unless you say so",
            _REST,
            "submit",
            _HANDLED,
        ),
        Kind("not_placed_500", "500 with a gateway fault, not handled", _REST, "submit"),
        Kind(
            "errors_200",
            "200 with errors, not handled",
            ("submit", "preview", "replace", "cancel"),
            "submit",
            {"errors": Param("texts", _CODES)},
        ),
        Kind(
            "late_rejection",
            "answered ok, then the order is rejected",
            ("accepted",),
            "accepted",
            {"delay_ms": Param("int", 50), "reason": Param("text", _CODES[1])},
            knows_symbol=True,
        ),
        Kind(
            "filled_without_price",
            "an order is filled for lag_ms before it says how many and for how much",
            ("lookup",),
            "lookup",
            {"lag_ms": Param("int", 1000)},
            is_asked=True,
        ),
        Kind(
            "unauthorized_order", "401 Unauthorized Account for an order that is there", _ONE_ORDER, "lookup"
        ),
        Kind(
            "empty_as_text",
            'null at the top of an answer is the text "null", or the text is null',
            _REST,
            "list",
            {"text": Param("bool", True)},
        ),
        Kind("xml_answer", "the answer is XML, whatever was asked for", _REST, "list"),
        Kind("day_rollover", "another day begins before the request is handled", _REST, "list"),
        Kind("preview_down", "400 Unexpected server error", ("preview",), "preview"),
    )


KINDS = by_name(
    answer_kinds(_REST, _WRITES, "https://redirected.invalid/v1/user/profile"),
    order_kinds(("lookup", "list"), _REST, "exec_quantity"),
    _own_kinds(),
    update_kinds(),
)
"""Faults of the trading API and of the account's stream."""
DATA_KINDS = by_name(
    tick_kinds(),
    (
        Kind(
            "too_many_sessions",
            "a session of the market's stream is refused",
            ("connect",),
            "connect",
            event="session",
        ),
        Kind("session_lost", "the session is not known when the stream opens", ("connect",), "connect", event="stream"),
    ),
    chain_kinds(),
)  # fmt: skip
"""Faults of market data alone: of the stream, and of option chains."""
ALL_KINDS = {**KINDS, **DATA_KINDS}
CATALOGUE = Catalogue(
    {"kinds": KINDS, "data_kinds": DATA_KINDS},
    OPERATIONS,
    frozenset({"accepted", "stream", "ticks", "connect", "chain"}),
)


def operation_of(method: str, path: str, *, preview: bool = False) -> str:
    """What a request of the REST API is about; "other" for what no fault names but `any`. `preview` where its form asks
    for one (tradier.md 6.4)."""
    parts = path.rstrip("/").split("/")[1:]
    if parts[:1] != ["v1"]:
        return "other"
    if parts[2:] == ["events", "session"]:
        return "session"
    if parts[1:2] == ["markets"]:
        return "data"
    if parts[1:] == ["user", "profile"]:
        return "account"
    if parts[1:2] != ["accounts"] or len(parts) < 4:
        return "other"
    place, deeper = parts[3], len(parts) > 4
    if place == "orders":
        alone = {"POST": "preview" if preview else "submit", "GET": "list"}
        one = {"PUT": "replace", "GET": "lookup", "DELETE": "cancel"}
        return (one if deeper else alone).get(method, "other")
    reads = {
        "balances": "account",
        "positions": "positions",
        "history": "activities",
        "gainloss": "activities",
    }
    return reads.get(place, "other")
