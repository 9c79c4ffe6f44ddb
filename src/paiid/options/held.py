"""The Greeks of contracts that somebody holds: taken from the same priced chains that everybody reads, so that they agree."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import date

from paiid.domain.errors import Problem
from paiid.domain.instruments import is_option
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing.position import ContractGreeks, Greeks
from paiid.domain.pricing.quality import names_of
from paiid.domain.pricing.terms import IMPLIED
from paiid.options.records import PricedChain

MOST_KEPT = 4096
"""Contracts whose Greeks are remembered."""

LoadChain = Callable[[str, Sequence[date]], Awaitable[PricedChain]]
"""`ChainReader.load`. Raises Problem where there are no data."""


class HeldGreeks:
    """Reads them by contract. What cannot be had is left out: a portfolio is told all the same."""

    def __init__(self, load_chain: LoadChain) -> None:
        self._load_chain = load_chain
        self._kept: OrderedDict[str, ContractGreeks] = OrderedDict()

    def newest(self, symbols: Iterable[str]) -> dict[str, ContractGreeks]:
        """Those that were read before, however long ago: each says of when it is."""
        return {symbol: self._kept[symbol] for symbol in symbols if symbol in self._kept}

    async def load(self, symbols: Iterable[str]) -> dict[str, ContractGreeks]:
        """Those of the option contracts among these symbols, priced anew where their chain has changed."""
        found: dict[str, ContractGreeks] = {}
        for underlying, contracts in _by_underlying(symbols).items():
            names = {one.symbol for one in contracts}
            # By one expiration at a time: one that is not listed any more must not cost the others theirs.
            for day in sorted({one.expiration for one in contracts}):
                try:
                    chain = await self._load_chain(underlying, (day,))
                except Problem:
                    # An older answer is still an answer; it says of when it is.
                    found.update(self.newest(one.symbol for one in contracts if one.expiration == day))
                else:
                    found.update(greeks_of(chain, names))
        self._keep(found)
        return found

    def _keep(self, found: Mapping[str, ContractGreeks]) -> None:
        for symbol, one in found.items():
            self._kept[symbol] = one
            self._kept.move_to_end(symbol)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


def _by_underlying(symbols: Iterable[str]) -> dict[str, list[OptionContract]]:
    wanted: dict[str, list[OptionContract]] = {}
    for symbol in symbols:
        contract = find_contract(symbol) if is_option(symbol) else None
        if contract is not None:
            wanted.setdefault(contract.underlying, []).append(contract)
    return wanted


def greeks_of(chain: PricedChain, symbols: Collection[str]) -> dict[str, ContractGreeks]:
    """What a chain has of these contracts: what we computed where the quote allows it, else what its source tells."""
    spot = chain.assumptions.spot
    found: dict[str, ContractGreeks] = {}
    for number, row in enumerate(chain.rows):
        if row.contract.symbol not in symbols:
            continue
        volatility, greeks, source = _ours(chain, number) or _theirs(chain.source, row) or (None, None, None)
        found[row.contract.symbol] = ContractGreeks(
            volatility,
            greeks,
            source,
            tuple(names_of(int(chain.flags[number]))),
            None if spot is None else spot.price,
            row.size,
            chain.assumptions.priced_at_us,
        )
    return found


def _ours(chain: PricedChain, number: int) -> tuple[float, Greeks, str] | None:
    if chain.implied.status[number] != IMPLIED:
        return None
    values = chain.values
    arrays = (values.delta, values.gamma, values.theta, values.vega, values.rho)
    return (
        float(chain.implied.volatility[number]),
        Greeks(*(float(one[number]) for one in arrays)),
        "computed",
    )


def _theirs(source: str, row: ChainRow) -> tuple[float | None, Greeks, str] | None:
    told = row.vendor
    if told is None:
        return None
    delta, gamma, theta, vega, rho = told.delta, told.gamma, told.theta, told.vega, told.rho
    if delta is None or gamma is None or theta is None or vega is None or rho is None:
        return None
    return told.implied_volatility, Greeks(delta, gamma, theta, vega, rho), source
