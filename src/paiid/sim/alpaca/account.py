"""The account, and what its owner has set (`/v2/account`, `/v2/account/configurations`)."""

from dataclasses import asdict, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers.paper.accounts import load_account
from paiid.domain.calendar import eastern_date
from paiid.domain.money import round_cents
from paiid.sim.alpaca.accounts import Configurations, SimAccount
from paiid.sim.alpaca.books import figures_of, mark_of, own_means
from paiid.sim.alpaca.errors import invalid
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer, body_of
from paiid.sim.alpaca.history import equity_at_roll, load_past
from paiid.sim.alpaca.parse import read_json
from paiid.sim.alpaca.queries import load_book
from paiid.sim.alpaca.values import stamp, text_of

_SWITCHES = (
    "suspend_trade",
    "no_shorting",
    "fractional_trading",
    "ptp_no_exception_entry",
    "disable_overnight_trading",
)


async def get_account(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/account`."""
    now_us = exchange.clock.now_us()
    roll_us = exchange.hours.previous_roll_us(now_us)
    async with exchange.db.read() as tx:
        book = await load_book(tx, account.number, mark_of(exchange), account.terms)
        blocked = (await load_account(tx, account.number, account.terms)).status == "blocked"
        since = await load_past(tx, account, roll_us)
    figures = figures_of(book)
    last_equity = equity_at_roll(exchange, book, since)
    lends = account.configurations.max_margin_multiplier != "1" and figures.multiplier > 1
    dollars = figures.buying_power if lends else min(figures.buying_power, own_means(book))
    equity, power = text_of(figures.equity), text_of(round_cents(dollars))
    free = text_of(round_cents(figures.free))
    value = figures.long + figures.short
    told: dict[str, Any] = {
        "id": account.id,
        "admin_configurations": {},
        "user_configurations": None,
        "account_number": account.number,
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "options_approved_level": account.terms.options_level,
        "options_trading_level": account.options_level,
        "currency": "USD",
        "buying_power": power,
        "regt_buying_power": power,
        "effective_buying_power": power,
        "non_marginable_buying_power": free,
        "options_buying_power": free,
        "cash": text_of(round_cents(figures.cash)),
        "accrued_fees": "0",
        "pending_reg_taf_fees": "0",
        "portfolio_value": equity,
        "equity": equity,
        "last_equity": text_of(last_equity),
        "position_market_value": text_of(value),
        "long_market_value": text_of(figures.long),
        "short_market_value": text_of(figures.short),
        "initial_margin": text_of(round_cents(figures.initial)),
        "maintenance_margin": text_of(round_cents(figures.maintenance)),
        "last_maintenance_margin": "0",
        "sma": equity,
        "multiplier": "2" if lends else "1",
        "intraday_adjustments": "0",
        "balance_asof": str(eastern_date(roll_us)),
        "created_at": stamp(account.created_at_us),
        "account_blocked": blocked,
        "trading_blocked": False,
        "transfers_blocked": False,
        "trade_suspended_by_user": account.configurations.suspend_trade,
        "shorting_enabled": account.terms.margin and not account.configurations.no_shorting,
        "crypto_tier": 1,
    }
    if exchange.options.legacy_pdt_fields:
        told |= {"pattern_day_trader": False, "daytrade_count": 0, "daytrading_buying_power": "0"}
    return Answer(told)


def configurations_json(exchange: Exchange, account: SimAccount) -> dict[str, Any]:
    """The settings as they are told; the level is the one in force."""
    told = asdict(account.configurations)
    told["max_options_trading_level"] = account.configurations.max_options_trading_level
    if exchange.options.legacy_pdt_fields:
        told |= {"dtbp_check": "entry", "pdt_check": "entry"}
    return told


async def get_configurations(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/account/configurations`."""
    return Answer(configurations_json(exchange, account))


async def set_configurations(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`PATCH /v2/account/configurations`: what is not named stays; what nobody here knows is left alone."""
    body = read_json(await body_of(request))
    wanted: Configurations = account.configurations
    for name in _SWITCHES:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, bool):
            raise invalid(f"invalid {name}")
        switched: dict[str, Any] = {name: value}
        wanted = replace(wanted, **switched)
    if body.get("trade_confirm_email") is not None:
        wanted = replace(wanted, trade_confirm_email=_word(body, "trade_confirm_email", ("all", "none")))
    if body.get("max_margin_multiplier") is not None:
        wanted = replace(wanted, max_margin_multiplier=_word(body, "max_margin_multiplier", ("1", "2", "4")))
    if "max_options_trading_level" in body:
        wanted = replace(wanted, max_options_trading_level=_level(body["max_options_trading_level"]))
    return Answer(configurations_json(exchange, exchange.accounts.configure(account, wanted)))


def _word(body: Any, name: str, allowed: tuple[str, ...]) -> Any:
    value = body[name]
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or text not in allowed:
        raise invalid(f"invalid {name}")
    return text


def _level(value: Any) -> int | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else value if isinstance(value, bool) else str(value)
    if text not in ("0", "1", "2", "3"):
        raise invalid("invalid max_options_trading_level")
    return int(text)
