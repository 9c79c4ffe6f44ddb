"""American options by the thousand on few expirations: implied volatilities and Greeks from boundaries that are shared.

Without cash dividends the boundary, in strikes, depends on volatility, rate, yield and time alone. So for each right and expiration it
is solved at some Chebyshev points of the logarithm of volatility and interpolated: boundaries are smooth where prices have a kink.
After that each step of the search costs one premium. What shares its expiration with few others, or lies beyond the volatilities
that the rest spans, is solved by itself (`american_implied`).
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

import numpy as np

from paiid.domain.pricing import american, american_double, american_implied, european
from paiid.domain.pricing.american_block import Block
from paiid.domain.pricing.american_quoted import IndexArray, Quoted, put_in
from paiid.domain.pricing.american_search import floor_of, statuses
from paiid.domain.pricing.american_terms import early_exercise
from paiid.domain.pricing.terms import IMPLIED, Accuracy, Contracts, FloatArray, Implied, Market, Values

_LEAST_GROUP = 12
"""Contracts on one expiration, of one right, for which shared boundaries are cheaper than their own."""
_BLOCK = 1_000
"""Contracts that are worked on at once, so that what belongs to them stays in the cache."""


def imply_and_value(
    contracts: Contracts,
    market: Market,
    price: FloatArray,
    accuracy: Accuracy,
    pool: Executor | None = None,
) -> tuple[Implied, Values]:
    """The volatilities that prices imply (dollars a share, anything that is no price included) and the values there; zeros where none
    is. Cash dividends are not looked at. With a `pool` of threads the groups are shared out among them."""
    quoted = Quoted.of(contracts, market)
    early, double = early_exercise(quoted.put, quoted.years, quoted.rate, quoted.dividend_yield)
    plain = ~(early | double)
    if plain.all():
        return european.imply_and_value(contracts, quoted.market, price)
    implied = Implied(np.zeros(len(contracts)), np.empty(len(contracts), dtype=np.uint8))
    values = Values(*(np.zeros(len(contracts)) for _ in range(6)))
    for where, of in ((plain, _plain), (early, _early), (double, _double)):
        if where.any():
            some = np.flatnonzero(where)
            part = quoted.part(some)
            found, worth = of(part, price[some], accuracy, pool)
            implied.volatility[some], implied.status[some] = found.volatility, found.status
            put_in(values, some, worth)
    return implied, values


def _plain(
    quoted: Quoted, price: FloatArray, accuracy: Accuracy, pool: Executor | None
) -> tuple[Implied, Values]:
    return european.imply_and_value(quoted.contracts, quoted.market, price)


def _double(
    quoted: Quoted, price: FloatArray, accuracy: Accuracy, pool: Executor | None
) -> tuple[Implied, Values]:
    start = european.implied_volatility(quoted.contracts, quoted.market, price).volatility
    return _alone(quoted, american_double.implied(quoted, price, start, accuracy), accuracy)


def _early(
    quoted: Quoted, price: FloatArray, accuracy: Accuracy, pool: Executor | None
) -> tuple[Implied, Values]:
    start = european.implied_volatility(quoted.contracts, quoted.market, price).volatility
    target = price / quoted.unit
    status = statuses(target, floor_of(quoted.log_spot, *quoted.normal_rates()), accuracy)
    volatility = np.zeros(len(price))
    values = Values(*(np.zeros(len(price)) for _ in range(6)))
    left = status == IMPLIED

    def work(indices: IndexArray) -> tuple[IndexArray, FloatArray, Values]:
        block = Block.of(quoted.part(indices), start[indices], accuracy)
        found, at, worth = block.solve(target[indices], start[indices])
        return indices[found], at, worth

    run: Callable[..., Iterable[tuple[IndexArray, FloatArray, Values]]] = pool.map if pool else map
    for indices, at, worth in run(work, _blocks(quoted, np.flatnonzero(left & (start > 0)))):
        volatility[indices] = at
        put_in(values, indices, worth)
        left[indices] = False
    if left.any():
        rest = np.flatnonzero(left)
        part = quoted.part(rest)
        implied, worth = _alone(
            part, american_implied.of_single(part, price[rest], start[rest], accuracy), accuracy
        )
        volatility[rest], status[rest] = implied.volatility, implied.status
        put_in(values, rest, worth)
    return Implied(volatility, status), values


def _alone(quoted: Quoted, implied: Implied, accuracy: Accuracy) -> tuple[Implied, Values]:
    """With the values at volatilities that were found contract by contract."""
    values = Values(*(np.zeros(len(implied.status)) for _ in range(6)))
    some = np.flatnonzero(implied.status == IMPLIED)
    if len(some):
        put_in(values, some, american.value_quoted(quoted.part(some), implied.volatility[some], accuracy))
    return implied, values


def _blocks(quoted: Quoted, some: IndexArray) -> Iterator[IndexArray]:
    """The indices of whole groups (one right, time, rate and yield), some groups at a time; small groups are left out."""
    keys = np.stack([quoted.put, quoted.years, quoted.rate, quoted.dividend_yield])[:, some]
    order = np.lexsort(keys)
    some, keys = some[order], keys[:, order]
    starts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(0)]) if len(some) else np.arange(0)
    gathered: list[IndexArray] = []
    for group in np.split(some, starts[1:]):
        if len(group) < _LEAST_GROUP:
            continue
        gathered.append(group)
        if sum(map(len, gathered)) >= _BLOCK:
            yield np.concatenate(gathered)
            gathered = []
    if gathered:
        yield np.concatenate(gathered)
