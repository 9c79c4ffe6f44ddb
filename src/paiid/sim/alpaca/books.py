"""An account as the venue reckons it, with the figures that Alpaca tells of it."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.instruments import multiplier_of
from paiid.domain.margin import Exposure, Uncovered, lends, maintenance_requirement, tied_up
from paiid.domain.money import ZERO
from paiid.domain.paper_account import Holding, PaperAccount, exposure_of
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.queries import load_book


def mark_of(exchange: Exchange) -> Callable[[str, Decimal], Decimal | None]:
    """What closing a share brings or costs now, as the venue values it: the bid of what is held, the ask of a short."""

    def mark(symbol: str, qty: Decimal) -> Decimal | None:
        quote = exchange.market.newest(symbol)
        if quote is None:
            return None
        price = quote.ask if qty < 0 else quote.bid
        return price if price > 0 else None

    return mark


async def read_book(exchange: Exchange, account: SimAccount) -> PaperAccount:
    """The account as it is in the venue's books."""
    async with exchange.db.read() as tx:
        return await load_book(tx, account.number, mark_of(exchange), account.terms)


def own_means(book: PaperAccount) -> Decimal:
    """Dollars that are left for purchases without anything lent, when all open ones have been paid."""
    reserved = sum((one.open_buy_value for one in book.holdings.values()), ZERO)
    return max(ZERO, book.cash - reserved)


@dataclass(frozen=True, slots=True)
class Figures:
    """Dollars; `short` is below zero or zero. `multiplier` is 2 where long stock is lent on, else 1."""

    cash: Decimal
    equity: Decimal
    long: Decimal
    short: Decimal
    buying_power: Decimal
    free: Decimal
    """What options and other things that are not lent on may cost."""
    initial: Decimal
    maintenance: Decimal
    multiplier: int


def figures_of(book: PaperAccount) -> Figures:
    """What an account is worth and may buy. What cannot be reckoned for want of a price counts nothing to buy with."""
    held = {symbol: one for symbol, one in book.holdings.items() if one.qty}
    long = short = ZERO
    exposures: list[Exposure] = []
    for symbol, one in held.items():
        mark = book.mark_of(symbol, one.qty)
        value = one.qty * (mark or ZERO) * multiplier_of(symbol)
        long, short = long + max(value, ZERO), short + min(value, ZERO)
        exposures.append(exposure_of(symbol, _settled(one), mark))
    power = free = initial = maintenance = ZERO
    loan = False
    try:
        loan = lends(book.cash, book.exposures(), margin=book.terms.margin)
        free = max(ZERO, book.excess())
        power = max(ZERO, book.buying_power())
        equity = book.cash + long + short
        # What is not free of the equity is tied up by the positions themselves.
        initial = max(ZERO, equity - (book.cash - tied_up(exposures, loan=loan)))
        maintenance = max(ZERO, maintenance_requirement(exposures))
    except (ValueError, Uncovered):
        pass
    return Figures(
        cash=book.cash,
        equity=book.cash + long + short,
        long=long,
        short=short,
        buying_power=power,
        free=free,
        initial=initial,
        maintenance=maintenance,
        multiplier=2 if loan else 1,
    )


def _settled(one: Holding) -> Holding:
    """The holding without what open orders may do to it."""
    return Holding(one.qty, one.cost_basis)
