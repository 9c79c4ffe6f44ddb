"""The wish to replace an order, kept on the old order in step with what became of the new one (contract E0)."""

from paiid.domain.orders import ReplaceState, Submission
from paiid.trading.records import OrderRow

_FOLLOWS: dict[Submission, ReplaceState] = {
    Submission.ACCEPTED: ReplaceState.ACCEPTED,
    Submission.UNKNOWN: ReplaceState.UNKNOWN,
    Submission.REJECTED: ReplaceState.REFUSED,
    Submission.NOT_PLACED: ReplaceState.REFUSED,
    Submission.REFUSED: ReplaceState.REFUSED,
    Submission.SKIPPED: ReplaceState.REFUSED,
}


def follow(old: OrderRow, new: OrderRow) -> bool:
    """Keep the wish on the old order in step with what became of the new one; whether anything changed."""
    wanted = _FOLLOWS.get(new.state)
    if wanted is None or old.replace_state == wanted.value:
        return False
    old.replace_state = wanted.value
    old.replaced_by = None if wanted is ReplaceState.REFUSED else new.id
    return True
