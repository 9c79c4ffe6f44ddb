"""The bench of the governor: every request of the burst is told, and the urgent are let through in the place of others."""

from pathlib import Path

from bench.governor import BURST, LIMIT, NO_SHARES, Kinds, play, run
from paiid.wires.governor import ORDER_SHARES, Priority


async def test_each_request_of_the_burst_was_admitted_or_refused() -> None:
    kinds: Kinds = {}
    await play(60.0, ORDER_SHARES, lambda one: one, 1, kinds)
    told = {name: len(kinds[name].waited_s) + kinds[name].refused for name, *_ in BURST}
    assert told == {name: count for name, _, count, _ in BURST}
    assert kinds["polls"].waited_s
    admitted = sum(len(kind.waited_s) for kind in kinds.values())
    assert admitted <= 3 * LIMIT, "in two minutes that may begin and end anywhere"


async def test_a_share_that_nobody_keeps_is_used_up_by_polls() -> None:
    kinds: Kinds = {}
    await play(60.0, NO_SHARES, lambda _: Priority.CANCEL, 1, kinds)
    kept: Kinds = {}
    await play(60.0, ORDER_SHARES, lambda one: one, 1, kept)
    assert len(kept["cancels"].waited_s) > len(kinds["cancels"].waited_s)


def test_the_figures_are_printed_for_both_ways(tmp_path: Path) -> None:
    lines: list[str] = []
    assert run(lines.append, tmp_path, 0.6, 1)
    assert sum("cancels" in line for line in lines) == 2
