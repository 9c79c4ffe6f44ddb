"""Every fault of the update stream against orders that fill in parts, in groups, and that are cancelled: what the stream
does not tell is fetched, what it tells twice is booked once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from paiid.sim.alpaca.fault_kinds import KINDS
from tests import alpaca_paths as paths
from tests.alpaca_kept import KeptWorld

ALL: dict[str, dict[str, Any]] = {
    "told twice": {"kind": "update_duplicated", "rate": 1.0},
    "told five times": {"kind": "update_duplicated", "rate": 1.0, "params": {"times": 5}},
    "told in another order": {"kind": "update_reordered", "rate": 0.5, "params": {"wait_ms": 200}},
    "told late": {"kind": "update_late", "rate": 1.0, "params": {"delay_ms": 600}},
    "some told late": {"kind": "update_late", "rate": 0.5, "params": {"delay_ms": 300}},
    "never told": {"kind": "update_missing", "rate": 1.0},
    "some never told": {"kind": "update_missing", "rate": 0.5},
    "cut off instead": {"kind": "disconnect", "rate": 1.0},
    "cut off once": {"kind": "disconnect", "next": 1},
    "silent": {"kind": "silent", "next": 1},
    "silent and deaf": {"kind": "silent", "next": 1, "params": {"deaf": True}},
    "told with fields missing": {"kind": "missing_fields", "on": "stream", "rate": 1.0},
    "told without a quantity": {
        "kind": "missing_fields", "on": "stream", "rate": 1.0, "params": {"remove": ["qty", "price"], "set": {}},
    },
    "told without an id of the print": {
        "kind": "missing_fields", "on": "stream", "rate": 1.0, "params": {"remove": ["execution_id"], "set": {}},
    },
    "told with an unknown status": {"kind": "unknown_status", "on": "stream", "rate": 1.0},
}  # fmt: skip
PRINTS = {
    f"{event} {what}": {**ALL[what], "rate": None, "next": 1, "event": event}
    for event in ("partial_fill", "fill")
    for what in ("never told", "cut off once", "silent", "told late")
}
_TRIES = 6
"""A reader that begins anew, after what the case before has done to it, may not listen at that moment."""
WALKS: dict[str, tuple[paths.Walk, dict[str, dict[str, Any]]]] = {
    "single": (paths.single, {**ALL, **PRINTS}),
    "bracket": (paths.bracket, ALL),
    "spread": (paths.spread, ALL),
    "replacing": (paths.replacing, ALL),
    "canceling": (paths.canceling, ALL),
}
MATRIX = [
    pytest.param(walk, wish, id=f"{path}: {name}")
    for path, (walk, wishes) in WALKS.items()
    for name, wish in wishes.items()
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> AsyncIterator[KeptWorld]:
    one = KeptWorld(tmp_path_factory.mktemp("alpaca"), _sqlite_template)
    yield one
    await one.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("walk", "wish"), MATRIX)
async def test_E18_whatever_the_stream_does_everything_is_booked_once(
    walk: paths.Walk, wish: dict[str, Any], kept: KeptWorld
) -> None:
    async with kept.lent() as world:
        before = world.played()
        world.fault(**{name: value for name, value in wish.items() if value is not None})
        for _ in range(_TRIES):
            await world.until_listened_to()
            (order,) = await walk(world, lambda **_: None)
            assert order["state"] == "ACCEPTED"
            await world.quiesce()
            if world.played() > before:
                break
        assert world.played() > before, "the fault was never played"


@pytest.mark.asyncio(loop_scope="module")
async def test_E12_an_event_without_a_size_before_the_answer_is_no_other_order(kept: KeptWorld) -> None:
    async with kept.lent() as world:
        world.fault("slow", params={"after_ms": 400})
        world.fault("missing_fields", on="stream", rate=1.0, params={"remove": ["qty"], "set": {}})
        for _ in range(_TRIES):
            await world.until_listened_to()
            before = world.sim.faults.played.get("missing_fields", 0)
            (order,) = await paths.at_once(world, lambda **_: None)
            assert order["state"] == "ACCEPTED"
            await world.quiesce()
            if world.sim.faults.played.get("missing_fields", 0) > before:
                break
        assert world.sim.faults.played.get("missing_fields", 0) > before, "no event was told without its size"


def test_every_fault_of_the_stream_is_in_the_matrix() -> None:
    tried = {wish["kind"] for _, wishes in WALKS.values() for wish in wishes.values()}
    assert tried == {name for name, kind in KINDS.items() if "stream" in kind.on}
