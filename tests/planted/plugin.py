"""The switch: a pytest plugin that plants the bug PAIID_PLANTED_BUG names, before the first test of its run."""

import os

from tests.planted.bugs import plant

SWITCH = "PAIID_PLANTED_BUG"


def pytest_configure() -> None:
    """Nothing is planted where the variable is missing or empty."""
    bug = os.environ.get(SWITCH)
    if bug:
        plant(bug)
