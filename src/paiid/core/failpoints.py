"""The places in the order path where a crash would hurt most, named so that tests can crash there."""

from collections.abc import Callable
from enum import Enum


class FailPoint(Enum):
    """Every step of the order path; the fault tests kill the process at each one."""

    BEFORE_CLAIM = "before_claim"
    IN_CLAIM = "in_claim"
    AFTER_CLAIM = "after_claim"
    BEFORE_SEND = "before_send"
    AFTER_SEND = "after_send"
    IN_RECORD = "in_record"
    AFTER_RECORD = "after_record"
    BEFORE_LOOKUP = "before_lookup"
    AFTER_LOOKUP = "after_lookup"
    IN_RESOLVE = "in_resolve"
    IN_MERGE = "in_merge"
    AFTER_MERGE = "after_merge"
    BEFORE_CANCEL = "before_cancel"
    AFTER_CANCEL = "after_cancel"


Probe = Callable[[FailPoint], None]


def no_probe(_: FailPoint) -> None:
    """What the product runs with: nothing happens."""
