"""What a start does not load: packages that only some requests need, and those for a terminal (limits P10)."""

import subprocess
import sys

HEAVY = (
    "anthropic",
    "httpx2",
    "opentelemetry.sdk",
    "pandas",
    "prometheus_client",
    "pygments",
    "redis",
    "rich",
    "scipy",
    "sentry_sdk",
)
_LOADED = f"""
import sys
from paiid.cli.lean import import_without_colours
import_without_colours()
import paiid.cli.serve, paiid.app
print([one for one in {HEAVY} if one in sys.modules])
import rich
"""


def test_a_start_loads_nothing_heavy_that_it_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
