"""Many rows over one app: each is judged by itself, and all that fail are told together, where an app for each would cost more than the row."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

Row = Callable[..., AbstractContextManager[None]]


@contextlib.contextmanager
def every_row() -> Iterator[Row]:
    """Gives `row(*what)`, a block for one row; raises AssertionError at the end with each row whose block failed.

    For rows that change nothing when all is well: what a failed one left behind may fail later ones too.
    """
    wrong: list[str] = []

    @contextlib.contextmanager
    def row(*what: Any) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            wrong.append(f"{what}: {error}")

    yield row
    assert not wrong, "\n".join(wrong)
