"""The risk limits in force for a user: the deployment's, tightened by his own, never loosened."""

from decimal import Decimal

from paiid.accounts.records import UserSettings
from paiid.domain.risk import RiskLimits

DEPLOYMENT = RiskLimits()


def limits_of(settings: UserSettings) -> RiskLimits:
    """The smaller of each pair; what the user has not set is the deployment's."""
    most = DEPLOYMENT
    return RiskLimits(
        max_order_qty=_less(most.max_order_qty, settings.max_order_qty),
        max_order_notional=_less(most.max_order_notional, settings.max_order_notional),
        max_position_value=_less(most.max_position_value, settings.max_position_value),
        max_open_orders=min(most.max_open_orders, settings.max_open_orders or most.max_open_orders),
        max_positions=min(most.max_positions, settings.max_positions or most.max_positions),
        price_collar_pct=_less(most.price_collar_pct, settings.price_collar_pct),
    )


def _less(most: Decimal, own: Decimal | None) -> Decimal:
    return most if own is None else min(most, own)
