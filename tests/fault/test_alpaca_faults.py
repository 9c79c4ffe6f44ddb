"""Every fault of a request against every path of an order, through the whole service and over real sockets: nothing
doubled, nothing lost, and the two books equal at the end."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from paiid.sim.alpaca.fault_kinds import KINDS
from tests import alpaca_paths as paths
from tests.alpaca_kept import KeptWorld
from tests.alpaca_world import AlpacaWorld, alpaca_world
from tests.fault.walked import outcomes, walked


@dataclass(frozen=True)
class Case:
    """Faults that are in force together, and what the order comes to that the first of them meets."""

    state: str
    faults: tuple[dict[str, Any], ...]


def case(state: str, kind: str, **params: Any) -> Case:
    """One fault."""
    return Case(state, ({"kind": kind, "params": params},))


def lost_and(kind: str, next_: int = 1, **params: Any) -> Case:
    """An answer that is lost, and a fault of the look-up that follows."""
    return Case(
        "ACCEPTED",
        ({"kind": "answer_lost"}, {"kind": kind, "on": "lookup", "next": next_, "params": params}),
    )


SENT: dict[str, Case] = {
    "answer lost": case("ACCEPTED", "answer_lost"),
    "refused with 503 before it was handled": case("NOT_PLACED", "refuse_before"),
    "refused with 500 before it was handled": case("NOT_PLACED", "refuse_before", status=500),
    "failed with 500 after it was handled": case("ACCEPTED", "fail_after"),
    "failed with 504 after it was handled": case("ACCEPTED", "fail_after", status=504),
    "rate limited": case("REJECTED", "rate_limited"),
    "handled after the deadline": case("ACCEPTED", "slow", before_ms=1300),
    "answered after the deadline": case("ACCEPTED", "slow", after_ms=1300),
    "reset within the answer": case("ACCEPTED", "reset_mid_body"),
    "garbage for an answer": case("ACCEPTED", "garbage"),
    "garbage and not handled": case("NOT_PLACED", "garbage", handled=False),
    "a page for an answer": case("ACCEPTED", "html"),
    "a page and not handled": case("NOT_PLACED", "html", handled=False),
    "504 and accepted later": case("ACCEPTED", "late_accept", delay_ms=300),
    "redirected": case("NOT_PLACED", "redirect"),
    "redirected and handled": case("ACCEPTED", "redirect", handled=True),
    "a huge answer": case("ACCEPTED", "huge", bytes=3_000_000),
    "a trickling answer": case("ACCEPTED", "trickle", every_ms=10),
    "an unknown status": case("ACCEPTED", "unknown_status"),
    "fields missing": case("ACCEPTED", "missing_fields"),
}
SUBMITTED = {
    **SENT,
    "filled in many prints": case("ACCEPTED", "partial_fill_burst", prints=4),
    "answer lost and not found at once": lost_and("lookup_lag", lag_ms=300),
    "answer lost and first not found": lost_and("not_found_once"),
    "answer lost and look-ups refused": lost_and("refuse_before", 2),
    "answer lost and look-ups limited": lost_and("rate_limited", reset_s=0),
    "answer lost and a look-up cut off": lost_and("reset_mid_body"),
    "answer lost and a look-up of garbage": lost_and("garbage"),
    "answer lost and a look-up without an id": lost_and("missing_fields", remove=["id"], set={}),
    "answer lost and a look-up of an unknown status": lost_and("unknown_status"),
    "answer lost and a page for a look-up": lost_and("html"),
    "answer lost and a redirected look-up": lost_and("redirect"),
    "answer lost and a huge look-up": lost_and("huge", bytes=3_000_000),
    "answer lost and a trickling look-up": lost_and("trickle", every_ms=10),
    "answer lost and a slow look-up": lost_and("slow", after_ms=1300),
}
_NO_BODY = ("unknown_status", "missing_fields")
"""Faults of what is in an answer; that to a cancel is empty."""
CANCELED = {
    **{name: one for name, one in SENT.items() if one.faults[0]["kind"] not in _NO_BODY},
    "cancelled late": case("ACCEPTED", "cancel_slow", delay_ms=400),
    "filled instead": case("ACCEPTED", "cancel_fill_race", timeout_ms=3000),
}
FILLED_FIRST = {"filled before the answer": case("ACCEPTED", "fill_before_answer")}
WALKS: dict[str, tuple[str, paths.Walk, dict[str, Case]]] = {
    "single": ("submit", paths.single, SUBMITTED),
    "at once": ("submit", paths.at_once, FILLED_FIRST),
    "batch": ("submit", paths.batch, SENT),
    "later in a batch": ("submit", paths.later_in_a_batch, SENT),
    "bracket": ("submit", paths.bracket, SENT),
    "spread": ("submit", paths.spread, SENT),
    "closing": ("submit", paths.closing, SENT),
    "replacing": ("replace", paths.replacing, SENT),
    "canceling": ("cancel", paths.canceling, CANCELED),
}
MATRIX = [
    pytest.param(on, walk, one, id=f"{path}: {name}")
    for path, (on, walk, cases) in WALKS.items()
    for name, one in cases.items()
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> AsyncIterator[KeptWorld]:
    one = KeptWorld(tmp_path_factory.mktemp("alpaca"), _sqlite_template)
    yield one
    await one.close()


def player(world: AlpacaWorld, on: str, one: Case) -> paths.Play:
    """Puts the faults of a case in force; where nothing else is said, the next time on the path's request."""

    def play(**where: Any) -> None:
        for number, wish in enumerate(one.faults):
            world.fault(**{"on": on, **(where if number == 0 else {}), **wish})

    return play


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("on", "walk", "one"), MATRIX)
async def test_E11_E12_no_fault_of_a_request_doubles_or_loses_anything(
    on: str, walk: paths.Walk, one: Case, kept: KeptWorld
) -> None:
    async with kept.lent() as world:
        told = await walked(world, walk, player(world, on, one))
        if on == "cancel":
            kind = one.faults[0]["kind"]
            # One that met a limit of requests is asked for again when the broker takes some.
            ended = "FILLED" if kind == "cancel_fill_race" else "CANCELED"
            assert {order["status"] for order in told} == {ended}, told
        else:
            assert outcomes(world, told) == {one.state}, [(order["state"], order["reason"]) for order in told]


SAMPLE = [
    ("single", "answer lost"),
    ("bracket", "504 and accepted later"),
    ("batch", "garbage for an answer"),
    ("replacing", "failed with 500 after it was handled"),
    ("canceling", "reset within the answer"),
    ("closing", "refused with 503 before it was handled"),
]


async def test_E11_E12_nor_does_a_sample_of_them_on_postgresql(
    postgres_url: str, tmp_path: Path, template: Path
) -> None:
    async with alpaca_world(postgres_url, tmp_path, template) as world:
        for path, name in SAMPLE:
            on, walk, cases = WALKS[path]
            told = await walked(world, walk, player(world, on, cases[name]))
            if on != "cancel":
                assert {order["state"] for order in told} == {cases[name].state}, (path, name)
            await world.end()


def test_every_fault_of_a_request_is_in_the_matrix() -> None:
    tried = {wish["kind"] for _, _, cases in WALKS.values() for one in cases.values() for wish in one.faults}
    assert tried == {name for name, kind in KINDS.items() if kind.default_on != "stream"}
