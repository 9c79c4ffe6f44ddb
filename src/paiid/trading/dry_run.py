"""What a dry run answers (contract E16)."""

from paiid.trading.answers import nested_view
from paiid.trading.commands import DryRunPlan


def dry_answer(plan: DryRunPlan) -> dict[str, object]:
    """The body: the orders as an execute would make them now, without what only a claim gives them."""
    orders: list[dict[str, object]] = []
    for order, children, value in zip(plan.rows, plan.children, plan.values, strict=True):
        view = nested_view(order, children)
        for absent in ("id", "intent_id", "client_order_id", "broker_order_id", "version", "submitted_at"):
            view[absent] = None
            for leg in view["legs"]:
                leg[absent] = None
        view["state"] = "WOULD_SEND" if order.reason is None else order.state.value
        for leg in view["legs"]:
            leg["parent_id"], leg["state"] = None, view["state"]
        view["estimated_value"] = value
        orders.append(view)
    return {
        "accepted": all(order.reason is None for order in plan.rows),
        "dryRun": True,
        "mode": plan.account.mode,
        "account": plan.account.id,
        "buying_power_after": plan.buying_power,
        "orders": orders,
    }
