"""What one look at the order list has shown, and which absence in it proves something (contract E12)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from paiid.brokers import BrokerOrderView, OutcomeUnknown

__all__ = ["DayView", "Ours", "first_of", "looks_ours", "member_of", "view_of"]

Ours = Callable[[str], bool]
"""Whether a tag is one that this service makes."""
_OUR_TAG = re.compile(r"pd-[0-9a-f]{32}\Z", re.ASCII)


def looks_ours(tag: str) -> bool:
    """The form of contract E8. Tags are not unique (tradier.md, 6.8): one that somebody gave to several orders must not be
    taken for the name of any."""
    return _OUR_TAG.match(tag) is not None


@dataclass(frozen=True, slots=True)
class DayView:
    """The orders of a day in New York, as a listing showed them that began at `began_s` (monotonic).

    `views` are whole orders, with what hangs on them; their `client_order_id` is a tag of ours or None. `again` are those
    whose numbers were not all there. `unread` counts rows, and legs, that could not be read.
    """

    views: tuple[BrokerOrderView, ...]
    again: frozenset[str]
    unread: int
    began_s: float
    day: date
    tags: Mapping[str, tuple[BrokerOrderView, ...]]
    ids: Mapping[str, BrokerOrderView]

    def by_tag(self, tag: str) -> Sequence[BrokerOrderView]:
        """Orders with this tag, whoever gave it. None is a proof of absence. Raises OutcomeUnknown where none was found and
        something could not be read."""
        found = self.tags.get(tag, ())
        if not found:
            self.require_whole()
        return found

    def by_id(self, broker_order_id: str) -> BrokerOrderView | None:
        """The order, exit or leg with this id, an entry's own included. None proves nothing: one of another day, or one that
        could not be read, is asked for by itself."""
        return self.ids.get(broker_order_id)

    def require_whole(self) -> None:
        """Raises OutcomeUnknown where a row could not be read."""
        if self.unread:
            raise OutcomeUnknown(f"the broker's list of orders has {self.unread} that could not be read")


def view_of(
    views: Sequence[tuple[BrokerOrderView, tuple[str, ...]]],
    ours: Ours,
    *,
    again: frozenset[str],
    unread: int,
    began_s: float,
    day: date,
) -> DayView:
    """A look made of whole orders, each with its other ids. Of several under one tag only the first is told under it."""
    tags: dict[str, tuple[BrokerOrderView, ...]] = {}
    ids: dict[str, BrokerOrderView] = {}
    roots: dict[str, BrokerOrderView] = {}
    for view, _ in views:
        tag = view.client_order_id
        if tag is not None and all(one.broker_order_id != view.broker_order_id for one in tags.get(tag, ())):
            tags[tag] = (*tags.get(tag, ()), view)
    for view, aliases in views:
        first = first_of(tags.get(view.client_order_id or "", ()))
        copied = first is not None and first.broker_order_id != view.broker_order_id
        shown = named(view, (lambda _: False) if copied else ours)
        roots[shown.broker_order_id] = shown
        for member_id in aliases:
            ids[member_id] = shown
        for leg in shown.legs:
            ids[leg.broker_order_id] = leg
    ids.update(roots)
    return DayView(tuple(roots.values()), again, unread, began_s, day, tags, ids)


def first_of(found: Sequence[BrokerOrderView]) -> BrokerOrderView | None:
    """Of several orders with one tag the one that an intent has caused: the others came later, from somebody who copied it."""
    return min(
        found,
        key=lambda view: (view.submitted_at_us, len(view.broker_order_id), view.broker_order_id),
        default=None,
    )


def named(view: BrokerOrderView, ours: Ours) -> BrokerOrderView:
    """The view without a tag that is not ours."""
    tag = view.client_order_id
    return view if tag is None or ours(tag) else replace(view, client_order_id=None)


def member_of(view: BrokerOrderView, broker_order_id: str) -> BrokerOrderView:
    """Of an order what has this id: one that hangs on it, or itself."""
    return next((leg for leg in view.legs if leg.broker_order_id == broker_order_id), view)
