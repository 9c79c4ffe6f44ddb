"""One request to a host of Alpaca's with a pair of keys, paid from its budget (alpaca.md, section 2)."""

from collections.abc import Mapping

import httpx2

from paiid.wires.deadline import Deadline
from paiid.wires.governor import MARKET_SHARES, Governor, Governors, Priority
from paiid.wires.outbound import Outbound, Reply
from paiid.wires.values import decimal_of

__all__ = ["DEFAULT_LIMIT", "AlpacaWire", "data_budget", "trading_budget"]

DEFAULT_LIMIT = 200
"""A minute, until the headers say otherwise: of an account at the trading API, of a pair of keys at the data API's free plan."""
_MAX_LIMIT = 100_000
_LAST_SECOND = 10**11


def trading_budget(governors: Governors, key_id: str) -> Governor:
    """Of orders, and of whatever else is asked of the trading host with these keys, by whomever."""
    return governors.of("alpaca trading", key_id, DEFAULT_LIMIT)


def data_budget(governors: Governors, key_id: str) -> Governor:
    """Of market data; no order is ever paid from it."""
    return governors.of("alpaca data", key_id, DEFAULT_LIMIT, MARKET_SHARES)


class AlpacaWire:
    """The connections of one pair of keys to one host."""

    def __init__(
        self,
        key_id: str,
        secret: str,
        base_url: str,
        governor: Governor,
        *,
        most_connections: int = 8,
        most_idle: int = 4,
        idle_s: float = 5.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.governor = governor
        self._outbound = Outbound(
            # Other clients take the address with the version at its end: both mean the same.
            base_url.rstrip("/").removesuffix("/v2"),
            {"APCA-API-KEY-ID": key_id, "APCA-API-SECRET-KEY": secret, "accept": "application/json"},
            most_connections=most_connections,
            most_idle=most_idle,
            idle_s=idle_s,
            transport=transport,
        )

    async def send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        priority: Priority,
        query: Mapping[str, str] | None = None,
        json_body: bytes | None = None,
        cap: int,
        wait_s: float | None = None,
    ) -> Reply:
        """One request within what is left of the deadline; it waits for its place for `wait_s` at most. Raises Spent, NotBegun,
        Broken."""
        await self.governor.admit(priority, deadline, wait_s=wait_s)
        return await self.governor.measured(
            self._outbound.exchange(
                method,
                path,
                deadline,
                query=query,
                content=json_body,
                content_type=None if json_body is None else "application/json",
                cap=cap,
                heard=self._heard,
            )
        )

    def _heard(self, status: int, headers: Mapping[str, str]) -> None:
        """From `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds), where they are told."""
        reset = _count(headers.get("x-ratelimit-reset"), most=_LAST_SECOND)
        self.governor.learn(
            limit=_count(headers.get("x-ratelimit-limit")),
            left=_count(headers.get("x-ratelimit-remaining")),
            resets_at_us=None if reset is None else reset * 1_000_000,
            refused=status == 429,
        )

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        await self._outbound.close()


def _count(value: object, most: int = _MAX_LIMIT) -> int | None:
    number = decimal_of(value)
    return int(number) if number is not None and 0 <= number <= most else None
