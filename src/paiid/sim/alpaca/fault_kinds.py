"""The faults of the simulated Alpaca: every kind it plays, and which request is about what."""

from paiid.sim.engine.fault_kinds import Catalogue, Kind, Param
from paiid.sim.engine.shared_kinds import (
    answer_kinds,
    by_name,
    chain_kinds,
    order_kinds,
    tick_kinds,
    update_kinds,
)

__all__ = [
    "ALL_KINDS",
    "CATALOGUE",
    "CHAIN",
    "DATA_KINDS",
    "HTTP_OPERATIONS",
    "KINDS",
    "OPERATIONS",
    "operation_of",
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
_REST = (*HTTP_OPERATIONS, "any")
_WRITES = ("submit", "replace", "cancel", "cancel_all", "close")
_ORDERS = ("submit", "replace", "lookup", "list", "close")

KINDS = by_name(
    answer_kinds(_REST, _WRITES, "https://redirected.invalid/v2/orders"),
    order_kinds(_ORDERS, _REST, "filled_qty"),
    update_kinds(),
)
"""Faults of the trading API; some of them can be played on market data as well."""
DATA_KINDS = by_name(
    tick_kinds(),
    (
        Kind("connection_limit", "the authentication is answered with error 406", ("connect",), "connect"),
        Kind(
            "slot_held",
            "the place of a socket that has ended stays taken for a while",
            ("hangup",),
            "hangup",
            {"hold_ms": Param("int", 5000)},
        ),
    ),
    chain_kinds(),
    (
        Kind("chain_page_lost", "a page behind the first is answered 500", (CHAIN,), CHAIN, event="later_page"),
        Kind("chain_endless", "the token of the next page is that of this one", (CHAIN,), CHAIN),
    ),
)  # fmt: skip
"""Faults of market data alone: of the stream, and of option chains."""
ALL_KINDS = {**KINDS, **DATA_KINDS}
CATALOGUE = Catalogue(
    {"kinds": KINDS, "data_kinds": DATA_KINDS},
    OPERATIONS,
    frozenset({"stream", *DATA_STREAM_OPERATIONS, CHAIN}),
)

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
