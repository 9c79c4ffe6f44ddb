"""The words of the portfolio's answers: exact decimals as JSON numbers, None where a price is missing."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from paiid.brokers import Capabilities
from paiid.core.instants import instant
from paiid.domain.capabilities import Holds
from paiid.domain.instruments import is_option, multiplier_of
from paiid.domain.money import plain
from paiid.domain.occ import find_contract
from paiid.domain.pricing.position import ContractGreeks
from paiid.domain.valuation import Holding, Valued, Worth, best_and_worst, change_since
from paiid.portfolio.greeks_views import contract_greeks_view, portfolio_greeks_view
from paiid.portfolio.store import AccountFigures, Day


def _number(value: Decimal | None) -> Decimal | None:
    return None if value is None else plain(value)


def position_view(one: Valued, known: Mapping[str, ContractGreeks]) -> dict[str, Any]:
    """A position. Quantity, cost and value are negative for a short; `…plc` and `change_today` are fractions. Options
    are in contracts, with prices a share, say what they are about, and have their Greeks where these are known."""
    held, mark = one.holding, one.mark
    return {
        "symbol": held.symbol,
        "qty": plain(held.qty),
        "side": "long" if held.qty > 0 else "short",
        "avg_entry_price": _number(one.avg_entry_price),
        "market_value": _number(one.market_value),
        "cost_basis": plain(held.cost_basis),
        "unrealized_pl": _number(one.unrealized_pl),
        "unrealized_plpc": _number(one.unrealized_plpc),
        "current_price": None if mark is None else plain(mark.price),
        "lastday_price": None if mark is None else _number(mark.prev_close),
        "change_today": _number(one.change_today),
        "asset_class": held.asset_class,
        "source": None if mark is None else mark.source,
        "as_of": None if mark is None else instant(mark.as_of_us),
        "stale": mark is None or mark.stale,
        **_contract(held, known),
    }


def _contract(held: Holding, known: Mapping[str, ContractGreeks]) -> dict[str, Any]:
    symbol = held.symbol
    contract = find_contract(symbol) if is_option(symbol) else None
    if contract is None:
        return {}
    return {
        "underlying": contract.underlying,
        "option_type": contract.option_type,
        "strike_price": plain(contract.strike),
        "expiration_date": contract.expiration.isoformat(),
        "multiplier": multiplier_of(symbol),
        **contract_greeks_view(held.qty, known.get(symbol)),
    }


def _notable(one: Valued | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "symbol": one.holding.symbol,
        "unrealized_pl": _number(one.unrealized_pl),
        "unrealized_plpc": _number(one.unrealized_plpc),
    }


def _marks(worth: Worth) -> dict[str, Any]:
    sources = sorted({one.mark.source for one in worth.held if one.mark is not None})
    return {
        "source": ",".join(sources) or None,
        "as_of": instant(worth.as_of_us),
        "stale": worth.stale or bool(worth.missing),
        "missing_prices": list(worth.missing),
    }


def _exposure(worth: Worth) -> dict[str, Any]:
    if worth.long is None or worth.short is None:
        return {"long": None, "short": None, "gross": None, "net": None}
    return {
        "long": plain(worth.long),
        "short": plain(worth.short),
        "gross": plain(worth.long - worth.short),
        "net": plain(worth.long + worth.short),
    }


def _margin(account: AccountFigures, worth: Worth) -> dict[str, Any]:
    needed = worth.requirements
    return {
        "buying_power": _number(worth.buying_power),
        "options_buying_power": _number(worth.options_buying_power),
        "initial_margin": None if needed is None else plain(needed.initial),
        "maintenance_margin": None if needed is None else plain(needed.maintenance),
        "margin_call": None if needed is None else needed.call,
        "margin": account.margin,
        "options_level": account.options_level,
    }


def summary_view(
    account: AccountFigures, worth: Worth, last_day: Day | None, known: Mapping[str, ContractGreeks]
) -> dict[str, Any]:
    """The summary of one account; `…_percent` are percent (5 is five percent)."""
    total = change_since(worth.equity, account.starting_cash)
    today = change_since(worth.equity, account.starting_cash if last_day is None else last_day.equity)
    winner, loser = best_and_worst(worth.held)
    results = [one.unrealized_pl for one in worth.held]
    return {
        "account": account.id,
        "total_value": _number(worth.equity),
        "cash": plain(worth.cash),
        **_margin(account, worth),
        "total_pl": _number(total.amount),
        "total_pl_percent": _number(total.percent),
        "day_pl": _number(today.amount),
        "day_pl_percent": _number(today.percent),
        "day_since": instant(account.since_us if last_day is None else last_day.rolled_at_us),
        "num_positions": len(worth.held),
        "num_winning": sum(1 for pl in results if pl is not None and pl > 0),
        "num_losing": sum(1 for pl in results if pl is not None and pl < 0),
        "largest_winner": _notable(winner),
        "largest_loser": _notable(loser),
        "exposure": _exposure(worth),
        "greeks": portfolio_greeks_view(worth.held, known),
        **_marks(worth),
    }


def live_view(
    account: AccountFigures, worth: Worth, last_day: Day | None, known: Mapping[str, ContractGreeks]
) -> dict[str, Any]:
    """A message of the account's portfolio channel: the summary and the positions, each as its route answers."""
    return {
        "account": account.id,
        "summary": summary_view(account, worth, last_day, known),
        "positions": [position_view(one, known) for one in worth.held],
    }


def account_view(account: AccountFigures, worth: Worth, can: Capabilities | None) -> dict[str, Any]:
    """An account's figures and what its broker can hold; `can` None: that broker is not configured here.

    `reconciled_at` is when its books last agreed with the broker's; `only_reduces`: its state lets no order open
    anything, for the broker has blocked it or the books do not agree.
    """
    return {
        "id": account.id,
        "name": account.name,
        "broker": account.broker,
        "mode": account.mode,
        "number": account.number,
        "status": account.status if can is not None else "unavailable",
        "currency": "USD",
        "cash": plain(worth.cash),
        "equity": _number(worth.equity),
        **_margin(account, worth),
        "long_market_value": _number(worth.long),
        "short_market_value": _number(worth.short),
        "starting_cash": plain(account.starting_cash),
        "open_orders": account.open_orders,
        "num_positions": len(worth.held),
        **_marks(worth),
        "reconciled_at": instant(account.reconciled_at_us),
        "reconcile_problem": account.reconcile_problem,
        # What the check of an order sees (`trading/checks.account_reason`): nothing is opened in it now.
        "only_reduces": account.status != "active" or account.reconcile_problem is not None,
        "created_at": instant(account.created_at_us),
        "capabilities": None if can is None else capabilities_view(can),
    }


def capabilities_view(can: Capabilities) -> dict[str, Any]:
    """What the broker can hold itself: the very object that decides the refusals of contract E19, row by row, and the
    sums of its columns."""
    return {
        "asset_classes": sorted(can.asset_classes),
        "order_types": sorted(can.order_types),
        "order_classes": sorted(can.order_classes),
        "times_in_force": sorted(can.times_in_force),
        "fractional": can.fractional,
        "short_selling": can.short_selling,
        "replaceable": sorted(can.replaceable),
        "table": _rows(can.rows),
        "notes": dict(sorted(can.notes.items())),
    }


def _rows(rows: Iterable[Holds]) -> list[dict[str, Any]]:
    return [
        {
            "kind": row.kind,
            "order_classes": sorted(row.order_classes),
            "order_types": sorted(row.order_types),
            "times_in_force": sorted(row.times_in_force),
            "extended_hours": row.extended_hours,
        }
        for row in rows
    ]
