"""Encoded answers as they are kept: plain, and compressed once somebody asks for that; bounded by their bytes."""

from collections import OrderedDict
from collections.abc import Hashable

from fastapi import Request, Response

from paiid.core.compression import LEAST_BYTES, Coding, accepted_coding, compress
from paiid.market.etag import not_modified, tag_of, tagged
from paiid.options.pool import PricingPool

MOST_BYTES = 64 * 1024 * 1024
"""Of all answers that are kept, in every coding."""


class Answer:
    """One JSON body. `made_of` is the object it was made from: while that is the newest, the answer is."""

    def __init__(self, body: bytes, made_of: object) -> None:
        self.body = body
        self.made_of = made_of
        self.tag = tag_of(body)
        self.coded: dict[Coding, bytes] = {}

    def size(self) -> int:
        """Bytes in all codings."""
        return len(self.body) + sum(map(len, self.coded.values()))


class Answers:
    """The least recently used go first when there are too many bytes."""

    def __init__(self, pool: PricingPool, most_bytes: int = MOST_BYTES) -> None:
        self._pool = pool
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._bytes = 0

    @property
    def bytes_kept(self) -> int:
        """How much is in memory."""
        return self._bytes

    def find(self, key: Hashable, made_of: object) -> Answer | None:
        """The answer, if it was made of exactly this object."""
        kept = self._kept.get(key)
        if kept is None or kept.made_of is not made_of:
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Remember it in place of what was there."""
        self._drop(key)
        self._kept[key] = answer
        self._bytes += answer.size()
        self._shrink()

    async def reply(self, request: Request, answer: Answer) -> Response:
        """304 where the client has it, else the body as the client likes it. Raises Problem (503) where too much waits."""
        coding = accepted_coding(request.headers.get("accept-encoding"))
        if len(answer.body) < LEAST_BYTES:
            coding = None
        known = not_modified(request, answer.tag, coding, varies=True)
        if known is not None:
            return known
        if coding is None:
            return tagged(answer.body, answer.tag, varies=True)
        body = answer.coded.get(coding)
        if body is None:
            body = await self._pool.run(compress, answer.body, coding)
            self._add(answer, coding, body)
        return tagged(body, answer.tag, coding, varies=True)

    def _add(self, answer: Answer, coding: Coding, body: bytes) -> None:
        """Somebody else may have been quicker, and the answer may be kept no more."""
        if coding in answer.coded:
            return
        answer.coded[coding] = body
        if any(one is answer for one in self._kept.values()):
            self._bytes += len(body)
            self._shrink()

    def _drop(self, key: Hashable) -> None:
        before = self._kept.pop(key, None)
        if before is not None:
            self._bytes -= before.size()

    def _shrink(self) -> None:
        while self._bytes > self._most_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size()
