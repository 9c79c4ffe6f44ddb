"""What this process uses of its machine, and how its requests went: the plain figures of the health page."""

from typing import Any

import psutil

from paiid import __version__
from paiid.core.accounting import Accounting
from paiid.core.clock import Clock


class Load:
    """Figures since the start of the process."""

    def __init__(self, clock: Clock, accounting: Accounting) -> None:
        self._clock = clock
        self._accounting = accounting
        self._started_s = clock.monotonic_s()
        self._process = psutil.Process()

    def view(self) -> dict[str, Any]:
        """Version, uptime, and the sections `system` and `application` of `/detailed`."""
        accounting, process = self._accounting, self._process
        memory = process.memory_info().rss
        return {
            "version": __version__,
            "uptime_seconds": round(self._clock.monotonic_s() - self._started_s, 1),
            "system": {
                "cpu_percent": process.cpu_percent(),
                "memory_percent": round(process.memory_percent(), 2),
                "memory_used_mb": round(memory / 1_048_576, 1),
                "threads": process.num_threads(),
                "open_files": process.num_fds(),
            },
            "application": {
                "total_requests": accounting.total,
                "total_errors": accounting.errors,
                "error_rate_percent": round(100 * accounting.errors / accounting.total, 3)
                if accounting.total
                else 0.0,
                "avg_response_time_ms": round(accounting.average_ms(), 3),
                "p50_response_time_ms": round(accounting.percentile_ms(0.5), 3),
                "p99_response_time_ms": round(accounting.percentile_ms(0.99), 3),
                "requests_per_minute": accounting.per_minute(),
                "in_flight": accounting.in_flight,
            },
        }
