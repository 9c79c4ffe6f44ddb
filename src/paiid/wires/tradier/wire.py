"""One request to Tradier, with its bucket of the budget, and its answer in whatever form that came (sections 1, 2, 4)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

import httpx2

from paiid.core.clock import Clock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import MARKET_SHARES, ORDER_SHARES, Governor, Governors, Priority, Shares
from paiid.wires.outbound import Outbound, Reply
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.lists import as_list
from paiid.wires.values import decimal_of, fields_of, message_of

__all__ = ["LIST_CAP", "OBJECT_CAP", "Answer", "Bucket", "TradierWire"]

OBJECT_CAP = 1 << 20
LIST_CAP = 16 << 20
Bucket = Literal["standard", "market", "trading"]
_LIMITS: Mapping[str, Mapping[Bucket, int]] = {
    "live": {"standard": 120, "market": 120, "trading": 60},
    "sandbox": {"standard": 60, "market": 60, "trading": 60},
    "simulated": {"standard": 120, "market": 120, "trading": 60},
}
"""A minute and token, until the headers say otherwise (section 2)."""
_SHARES: Mapping[Bucket, Shares] = {
    "market": MARKET_SHARES,
    # No order and no cancel is paid from it: what a look-up or a halt waits for may use nearly all of it. The last places are left for
    # what other replicas are just sending, which nobody has told yet: a 429 would close it for all.
    "standard": {
        **dict.fromkeys(Priority, 0.0),
        Priority.READ: 0.05,
        Priority.BACKGROUND: ORDER_SHARES[Priority.BACKGROUND],
    },
}
_MAX_LIMIT = 100_000
_THREAD_FROM = 256 << 10
"""Longer answers, such as chains, are parsed beside the event loop."""
_MOST_REASONS = 16
_TELLING_TOKEN = 8
"""What is shorter is a word of its own, and no token that anybody was given."""
_MILLISECONDS_FROM = 10**12


@dataclass(frozen=True, slots=True)
class Answer:
    """Whatever was answered. `data` is the parsed JSON, its numbers as texts so that no digit is lost; None where the body is
    no JSON (`readable` says whether it is). `words` are the reasons it gives, in any of the four forms of section 4; safe to
    show once our token is taken out, which has been done."""

    status: int
    data: object
    readable: bool
    words: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """A 2xx whose body could be read. It may still hold `errors` (section 6.3)."""
        return 200 <= self.status < 300 and self.readable


class TradierWire:
    """The connections of one token to the REST host."""

    def __init__(
        self,
        clock: Clock,
        keys: TradierKeys,
        governors: Governors,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.keys = keys
        limits = _LIMITS[keys.environment]
        self._governors: dict[Bucket, Governor] = {
            bucket: governors.of(f"tradier {bucket}", keys.token, limit, _SHARES.get(bucket, ORDER_SHARES))
            for bucket, limit in limits.items()
        }
        # Without the second one Tradier answers in XML.
        headers = {"authorization": f"Bearer {keys.token}", "accept": "application/json"}
        # Connections of their own: reads that hang must keep no order waiting beyond its window, and no cancel (E10).
        self._orders = Outbound(keys.api_url, headers, transport=transport)
        self._reads = Outbound(keys.api_url, headers, transport=transport)

    def governor(self, bucket: Bucket) -> Governor:
        """The budget of one bucket."""
        return self._governors[bucket]

    async def send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        priority: Priority,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        cap: int = OBJECT_CAP,
        wait_s: float | None = None,
    ) -> Answer:
        """One request within what is left of the deadline; `path` begins behind the version, such as `/accounts/VA1/orders`.

        A POST or PUT sends `form` as its body, an empty one with a length of 0. Raises Spent, NotBegun, Broken.
        """
        bucket = bucket_of(method, path)
        governor = self._governors[bucket]
        await governor.admit(priority, deadline, wait_s=wait_s)
        has_body = method in ("POST", "PUT")
        outbound = self._orders if bucket == "trading" else self._reads
        reply = await governor.measured(
            outbound.exchange(
                method,
                path,
                deadline,
                query=query,
                content=urlencode(form or {}).encode() if has_body else None,
                content_type="application/x-www-form-urlencoded" if has_body else None,
                cap=cap,
                heard=lambda status, headers: _learn(governor, status, headers),
            )
        )
        if len(reply.content) < _THREAD_FROM:
            return self._read(reply)
        return await asyncio.to_thread(self._read, reply)

    def _read(self, reply: Reply) -> Answer:
        content = self._without_token(reply.content)
        try:
            data: object = _DECODER.decode(content.decode("utf-8"))
            readable = True
        except (ValueError, RecursionError):
            data, readable = None, False
        words = _words_of(data) if readable else (_plain_words(reply.headers, content),)
        # Once more, for JSON can write a character in several ways.
        hidden = tuple(one.replace(self.keys.token, "[hidden]") for one in words if one)
        return Answer(reply.status, data, readable, hidden)

    def _without_token(self, content: bytes) -> bytes:
        """The answer, should it repeat our token, without it: what it says ends up in logs, in the ledger, and on screens."""
        token = self.keys.token.encode()
        return content.replace(token, b"[hidden]") if len(token) >= _TELLING_TOKEN else content

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        await self._orders.close()
        await self._reads.close()


def bucket_of(method: str, path: str) -> Bucket:
    """Which budget a request counts against."""
    if path.startswith("/markets"):
        return "market"
    return "trading" if method in ("POST", "PUT", "DELETE") and "/orders" in path else "standard"


def _learn(governor: Governor, status: int, headers: Mapping[str, str]) -> None:
    """From `X-Ratelimit-Allowed`, `-Available` and `-Expiry`; one client reads the expiry as seconds, so its size decides."""
    expiry = _count(headers.get("x-ratelimit-expiry"), most=10**15)
    if expiry is not None:
        expiry *= 1_000 if expiry >= _MILLISECONDS_FROM else 1_000_000
    governor.learn(
        limit=_count(headers.get("x-ratelimit-allowed")),
        left=_count(headers.get("x-ratelimit-available")),
        resets_at_us=expiry,
        refused=status == 429,
    )


def _count(value: object, most: int = _MAX_LIMIT) -> int | None:
    number = decimal_of(value)
    return int(number) if number is not None and 0 <= number <= most else None


def _words_of(data: object) -> tuple[str, ...]:
    """Reasons in an `errors` object, a gateway's `fault`, an order that tells its own refusal, or a text that is quoted."""
    told = fields_of(data)
    errors = (*_reasons_of(told.get("errors")), *_reasons_of(fields_of(told.get("order")).get("errors")))
    fault = message_of(fields_of(told.get("fault")).get("faultstring"))
    return tuple(one for one in (*errors, fault, message_of(data)) if one)


def _reasons_of(errors: object) -> list[str]:
    """The documented form is `{"error": …}`, one text or several; the texts by themselves are taken too."""
    told = {"error": errors} if isinstance(errors, (list, str)) else errors
    rows = as_list(told, "error")
    return [message_of(one) for one in rows[:_MOST_REASONS]]


def _plain_words(headers: Mapping[str, str], content: bytes) -> str:
    """A plain text is the broker's word; a page of some proxy's is not."""
    if "html" in headers.get("content-type", "").lower() or content.lstrip()[:1] == b"<":
        return ""
    return message_of(content[:600].decode("utf-8", "replace"))


_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None)
