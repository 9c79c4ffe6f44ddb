"""What a server is better off without: imports for colours, a tenth of a second and seven megabytes at each start; and looks for
garbage through all that was there at the start, an eighth of a second in which nothing else happens."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_COLOURS = ("rich", "pygments")


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """As if these packages were not installed, for whoever would use them if they were."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_without_colours() -> None:
    """structlog, and Mako below Alembic, look for rich and pygments to colour what they show on a terminal."""
    with _without(*_COLOURS):
        import structlog  # noqa: F401

        import paiid.core.migrate  # noqa: F401


def keep_what_is_there() -> None:
    """What is there now, code, routes and tables, stays to the end: no collection looks through it again."""
    gc.freeze()
