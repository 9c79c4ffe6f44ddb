"""The probes of docs/limits.md that are about chains of options."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import date, timedelta

import httpx2

from paiid.domain.errors import Problem
from paiid.domain.option_chain import ChainRow
from tests.limit_probes import Outcome, Probed, _request, outcome, probe
from tests.options_world import row
from tests.world import Client

_CHAIN = "/api/options/chains/AAPL"


async def _expirations(client: Client, count: int) -> httpx2.Response:
    first = date(2040, 1, 2)
    return await client.get(
        f"{_CHAIN}?expiration=" + ",".join(str(first + timedelta(days=number)) for number in range(count))
    )


_request("chain-rows", lambda c, n: c.get(f"{_CHAIN}?limit={n}&strikes=1"))
_request("chain-rows-least", lambda c, n: c.get(f"{_CHAIN}?limit={n}&strikes=1"), -1)
_request("chain-expirations", _expirations)
_request("chain-expirations-text", lambda c, n: c.get(f"{_CHAIN}?expiration=" + "," * n))
_request("chain-strikes", lambda c, n: c.get(f"{_CHAIN}?strikes={n}&limit=1"))
_request("chain-strike", lambda c, n: c.get(f"{_CHAIN}?strike_min={n}"))
_request("chain-after", lambda c, n: c.get(f"{_CHAIN}?after=" + "A" * n))


@probe("chain-contracts")
async def _contracts(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    """What the source tells is counted before anything is done with it."""
    service = probed.app.state.options
    (day, *_) = await service.chains.expirations("AAPL")
    found = []
    for count, accuracy in ((limit, "fast"), (limit + 1, "accurate")):

        async def told(
            symbol: str, first: date, last: date, keep_s: object, count: int = count
        ) -> tuple[Sequence[ChainRow], float]:
            return [row(100, day, root="AAPL")] * count, 0.0

        probed.app.state.market.shared_chain = told
        found.append(outcome(await probed.owner.get(f"{_CHAIN}?accuracy={accuracy}")))
    return found[0], found[1]


@probe("chain-queue")
async def _queue(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    pool, gate, found = probed.app.state.options.pool, threading.Event(), []
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(pool.run(gate.wait)) for _ in range(limit + 1)]
    try:
        await asyncio.wait([tasks[-1]])
        error = tasks[-1].exception()
        assert isinstance(error, Problem)
        found = [f"{error.code.status} `{error.code.slug}`"]
    finally:
        gate.set()
    answers = await asyncio.gather(*tasks[:-1])
    assert answers == [True] * limit
    return "200", found[0]
