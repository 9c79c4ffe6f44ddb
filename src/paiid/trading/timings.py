"""The deadlines of the order path, in seconds, in one place (contracts E4, E10, E12, E13, E14)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Only tests use other values. Raises ValueError where the horizon would let a late order be missed."""

    send_window_s: float = 1.0
    broker_deadline_s: float = 5.0
    call_budget_s: float = 20.0
    unknown_wait_s: float = 2.5
    horizon_s: float = 60.0
    sweep_s: float = 1.0
    drain_s: float = 4.0
    dispatch_slack_s: float = 0.5
    first_lookups_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    late_lookup_s: float = 30.0
    watch_lookup_s: float = 300.0
    update_retry_s: float = 0.5
    poll_s: float = 15.0
    """How often a broker is asked what its stream should have told, where that has no replay."""
    stream_late_s: float = 5.0
    """How much later than a poll the stream may tell the same, before it counts as silent."""
    compare_s: float = 60.0
    recompare_s: float = 10.0
    """How often an account whose books differ is compared."""

    import_retry_s: float = 5.0
    """How often a broker that does not answer is asked for what it has taken since a backup; one that answers, and does not
    tell enough, a sixth as often."""

    def check(self, lookup_lag_s: float) -> None:
        """The horizon must exceed the deadline plus the broker's look-up lag (E12)."""
        if self.horizon_s <= self.send_window_s + self.broker_deadline_s + lookup_lag_s:
            raise ValueError("the horizon must exceed the broker deadline plus its look-up lag")

    @property
    def dispatch_us(self) -> int:
        """How long an order may be DISPATCHING before it is in doubt, in microseconds."""
        return int((self.send_window_s + self.broker_deadline_s + self.dispatch_slack_s) * 1_000_000)

    def lookup_delay_us(self, done: int) -> int:
        """Microseconds until the look-up after `done` look-ups."""
        waits = self.first_lookups_s
        return int((waits[done] if done < len(waits) else self.late_lookup_s) * 1_000_000)
