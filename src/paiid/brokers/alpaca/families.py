"""Which order hangs on which: only a nested view tells, so what it told is kept for what comes without it."""

from collections import OrderedDict
from dataclasses import replace

from paiid.brokers import BrokerOrderView

_MAX_FAMILIES = 5_000


class Families:
    """The newest nested view of each bracket, oto, oco and spread seen lately, and whose child each exit and leg is."""

    def __init__(self, limit: int = _MAX_FAMILIES) -> None:
        self._limit = limit
        self._roots: OrderedDict[str, BrokerOrderView] = OrderedDict()
        self._root_of: dict[str, str] = {}

    def note(self, view: BrokerOrderView) -> None:
        """Remember a view that has legs."""
        if not view.legs:
            return
        known = self._roots.pop(view.broker_order_id, None)
        for leg in () if known is None else known.legs:
            # An exit that was replaced is in the new view no more, and is still this order's.
            if all(leg.broker_order_id != one.broker_order_id for one in view.legs):
                view = replace(view, legs=(*view.legs, leg)) if leg.replaced_by is None else view
        self._roots[view.broker_order_id] = view
        for leg in view.legs:
            self._root_of[leg.broker_order_id] = view.broker_order_id
        if len(self._roots) > self._limit:
            self._forget()

    def _forget(self) -> None:
        """Drop the oldest tenth at once, so that the sweep over the children is rare."""
        while len(self._roots) > self._limit * 9 // 10:
            self._roots.popitem(last=False)
        self._root_of = {child: root for child, root in self._root_of.items() if root in self._roots}

    def root_of(self, child_id: str) -> str | None:
        """The id of the order that this one hangs on, where that is known."""
        return self._root_of.get(child_id)

    def place(self, view: BrokerOrderView) -> BrokerOrderView | None:
        """The view with its place among others: its legs, or what it hangs on. None where that is not known."""
        if view.order_class == "simple":
            return view
        if view.legs:
            self.note(view)
            return view
        root = self._roots.get(view.broker_order_id)
        if root is not None:
            # Exits of an entry that was replaced hang on the new one now.
            legs = tuple(
                one for one in root.legs if self.root_of(one.broker_order_id) == view.broker_order_id
            )
            self._roots[view.broker_order_id] = replace(view, legs=legs)
            return self._roots[view.broker_order_id]
        root_id = self._root_of.get(view.broker_order_id)
        root = None if root_id is None else self._roots.get(root_id)
        if root is None:
            return None
        return self._placed_child(view, root)

    def _placed_child(self, view: BrokerOrderView, root: BrokerOrderView) -> BrokerOrderView:
        known = next((leg for leg in root.legs if leg.broker_order_id == view.broker_order_id), view)
        child = replace(
            view,
            parent_broker_order_id=root.broker_order_id,
            # What a nested view said of its role stands: alone, an oco's stop and its take profit look alike.
            group_role=known.group_role or view.group_role,
            ratio_qty=view.ratio_qty or known.ratio_qty,
            # A leg has no type of its own: nested it was read with its spread's (section 7).
            type=known.type if view.order_class == "mleg" else view.type,
        )
        legs = tuple(child if leg.broker_order_id == child.broker_order_id else leg for leg in root.legs)
        self._roots[root.broker_order_id] = replace(root, legs=legs)
        return child
