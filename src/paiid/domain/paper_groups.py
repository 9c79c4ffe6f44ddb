"""The rules by which the paper venue ties orders together: brackets, one-triggers-other, one-cancels-other."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.domain.money import CENT, ZERO
from paiid.domain.orders import GroupRole, OrderClass, OrderRequest, OrderStatus, Side, TakeProfit
from paiid.domain.paper import PaperRefused

EXITS: frozenset[GroupRole] = frozenset({"take_profit", "stop_loss"})
OTHER_EXIT_FILLED = "other_exit_filled"
GROUP_CANCELED = "canceled_with_group"
ENTRY_ENDED = "entry_ended"


def opposite(side: Side) -> Side:
    """The side that undoes this one."""
    return "sell" if side == "buy" else "buy"


def role_of_parent(order_class: OrderClass) -> GroupRole | None:
    """What the order that the others hang on is: an entry, or of an oco the take profit itself."""
    if order_class == "oco":
        return "take_profit"
    return "entry" if order_class in ("bracket", "oto") else None


def exits_of(order: OrderRequest) -> tuple[tuple[GroupRole, OrderRequest], ...]:
    """The orders that hang on this one, as single orders; of an oco, which is its own take profit, the stop loss
    alone."""
    side = order.side if order.order_class == "oco" else opposite(order.side)
    blank = replace(
        order,
        side=side,
        order_class="simple",
        limit_price=None,
        stop_price=None,
        trail_price=None,
        trail_percent=None,
        take_profit=None,
        stop_loss=None,
        position_intent=None,
    )
    found: list[tuple[GroupRole, OrderRequest]] = []
    if order.take_profit is not None and order.order_class != "oco":
        profit = replace(blank, type="limit", limit_price=order.take_profit.limit_price)
        found.append(("take_profit", profit))
    loss = order.stop_loss
    if loss is not None:
        found.append(
            (
                "stop_loss",
                replace(
                    blank,
                    type=loss.type,
                    limit_price=loss.limit_price,
                    stop_price=loss.stop_price,
                    trail_price=loss.trail_price,
                    trail_percent=loss.trail_percent,
                ),
            )
        )
    return tuple(found)


def check_group(order: OrderRequest) -> None:
    """Whether the fields make the class. Raises PaperRefused `order_class_fields`."""
    profit, loss = order.take_profit is not None, order.stop_loss is not None
    if order.order_class == "bracket" and not (profit and loss):
        raise PaperRefused("order_class_fields", "A bracket has both take_profit and stop_loss.")
    if order.order_class == "oto" and profit == loss:
        raise PaperRefused("order_class_fields", "An oto order has exactly one of take_profit and stop_loss.")
    if order.order_class == "oco":
        own = None if order.limit_price is None else TakeProfit(order.limit_price)
        if own is None or not loss or order.take_profit not in (None, own):
            raise PaperRefused(
                "order_class_fields",
                "An oco order has its take profit as limit_price (and as nothing else), and stop_loss.",
            )


def check_exit_prices(
    exit_side: Side, profit: Decimal | None, stop: Decimal | None, base: Decimal | None
) -> None:
    """The take profit is beyond the base (the entry's price), the stop at least a cent on its other side, and a cent
    lies between the two; None where there is no such price. Raises PaperRefused `bracket_prices`."""
    sign = 1 if exit_side == "sell" else -1
    over, under = ("over", "under") if exit_side == "sell" else ("under", "over")
    if profit is not None and stop is not None and (profit - stop) * sign < CENT:
        raise PaperRefused(
            "bracket_prices",
            f"take_profit.limit_price ({profit}) must be at least a cent {over} stop_loss.stop_price ({stop}).",
        )
    if profit is not None and base is not None and (profit - base) * sign <= ZERO:
        raise PaperRefused(
            "bracket_prices",
            f"take_profit.limit_price ({profit}) must be {over} the price of the entry ({base}).",
        )
    if stop is not None and base is not None and (base - stop) * sign < CENT:
        raise PaperRefused(
            "bracket_prices",
            f"stop_loss.stop_price ({stop}) must be at least a cent {under} the price of the entry ({base}).",
        )


def check_group_prices(order: OrderRequest, market_price: Decimal | None) -> None:
    """The prices of the exits among themselves and against the entry: its limit, else its stop, else the market it
    would trade at. Raises PaperRefused `bracket_prices`."""
    stop = None if order.stop_loss is None else order.stop_loss.stop_price
    if order.order_class == "oco":
        check_exit_prices(order.side, order.limit_price, stop, None)
        return
    profit = None if order.take_profit is None else order.take_profit.limit_price
    base = order.limit_price or order.stop_price or market_price
    check_exit_prices(opposite(order.side), profit, stop, base)


def check_exit_qty(side: Side, qty: Decimal, held: Decimal, open_qty: Decimal) -> None:
    """Whether `qty` shares can leave a position of `held` (signed) of which open orders on the same side may take
    `open_qty`. Raises PaperRefused `insufficient_qty`."""
    there = held if side == "sell" else -held
    free = max(ZERO, there - open_qty)
    if qty > free:
        raise PaperRefused(
            "insufficient_qty",
            f"An oco order is the exit of a position: qty {qty}, and {free} are held that no other order will take.",
        )


def counts(order_class: OrderClass, role: GroupRole | None, status: OrderStatus) -> bool:
    """Whether an open order counts in its holding's open quantities: held orders do not yet, of two exits for the same
    shares only the take profit does, and spreads are kept apart."""
    if status == OrderStatus.HELD or order_class == "mleg":
        return False
    return not (role == "stop_loss" and order_class in ("bracket", "oco"))


def suffixes(order: OrderRequest) -> Sequence[str]:
    """What the client order ids of the orders that hang on this one end with, in their order."""
    if order.order_class == "mleg":
        return [f".leg{number}" for number in range(1, len(order.legs) + 1)]
    if order.order_class == "simple":
        return []
    return [".tp" if role == "take_profit" else ".sl" for role, _ in exits_of(order)]
