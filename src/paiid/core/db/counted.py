"""What a database counts of itself for whoever operates it."""

from paiid.core.figures import Histogram

__all__ = ["Counted"]

_GROUPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Counted:
    """Figures of one database in this process."""

    def __init__(self) -> None:
        self.commits = Histogram()
        """Seconds of each COMMIT, which is what the disk takes."""
        self.groups = Histogram(bounds=_GROUPS)
        """How many calls shared a commit (orders are claimed and recorded so)."""
        self.connections = 0
        self.in_use = 0
        self.waiting = 0
        """Transactions that wait for a connection, or for their turn to write."""
        self.queued = 0
        """Calls that wait to share the next commit."""
