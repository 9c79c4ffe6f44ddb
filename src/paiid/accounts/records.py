"""Accounts as a user meets them, and his settings, as frozen values."""

from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.identity import Right


@dataclass(frozen=True, slots=True)
class Account:
    """An account a user has a grant on. `mode` is paper or live, `access` what the grant allows."""

    id: str
    broker: str
    mode: str
    number: str
    name: str
    status: str
    owner_user_id: str
    access: Right


@dataclass(frozen=True, slots=True)
class Grant:
    """A user's right on an account; `created_at` in microseconds."""

    user_id: str
    account_id: str
    access: Right
    created_at: int
    created_by: str


@dataclass(frozen=True, slots=True)
class UserSettings:
    """What a user has chosen; None is not chosen. `position_size` and the values in dollars, `stop_loss`,
    `take_profit` and `price_collar_pct` in percent, `max_order_qty` in shares."""

    position_size: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    max_positions: int | None = None
    default_account: str | None = None
    max_order_qty: Decimal | None = None
    max_order_notional: Decimal | None = None
    max_position_value: Decimal | None = None
    max_open_orders: int | None = None
    price_collar_pct: Decimal | None = None


SETTING_FIELDS = tuple(UserSettings.__dataclass_fields__)
_WHOLE = frozenset({"max_positions", "max_open_orders"})


def settings_from(stored: dict[str, object]) -> UserSettings:
    """From the stored JSON object, where decimals are texts; fields of a newer version are left alone."""
    values: dict[str, object] = {}
    for name in SETTING_FIELDS:
        value = stored.get(name)
        if value is None:
            continue
        if name == "default_account":
            values[name] = str(value)
        elif name in _WHOLE:
            values[name] = int(str(value))
        else:
            values[name] = Decimal(str(value))
    return UserSettings(**values)  # type: ignore[arg-type]


def settings_to(settings: UserSettings) -> dict[str, object]:
    """The JSON object to store: only what is chosen, decimals as texts, so that no digit is lost."""
    values = {name: getattr(settings, name) for name in SETTING_FIELDS}
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in values.items()
        if value is not None
    }
