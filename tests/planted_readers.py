"""Readers of the broker's updates with a mistake, for the tests that must notice it."""

from dataclasses import replace
from typing import Any

from paiid.trading.book import Book
from paiid.trading.executions import Prints
from paiid.trading.merging import Merger


class BooksWhatIsToldAgain(Merger):
    """By the event and not by the print."""

    count = 0

    async def _apply(
        self, book: Book, prints: Prints, account: Any, view: Any, execution: Any, *more: Any, gate: bool
    ) -> bool:
        if execution is not None:
            self.count += 1
            execution = replace(execution, execution_id=f"{execution.execution_id}-{self.count}")
        return await super()._apply(book, prints, account, view, execution, *more, gate=gate)
