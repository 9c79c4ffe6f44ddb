"""Every fault of a request against every path of an order at Tradier, through the whole service and over real sockets:
nothing doubled, nothing lost, and the two books equal at the end."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from paiid.sim.tradier.fault_kinds import KINDS
from tests.alpaca_world import BRISK
from tests.fault import tradier_paths as paths
from tests.fault.tradier_kept import KeptWorld, end, referee_for
from tests.fault.walked import outcomes, walked
from tests.tradier_world import TradierWorld, tradier_world
from tests.world import fresh_key


@dataclass(frozen=True)
class Case:
    """Faults that are in force together, and what the order comes to that the first of them meets."""

    state: str
    faults: tuple[dict[str, Any], ...]


def case(state: str, kind: str, **params: Any) -> Case:
    """One fault."""
    return Case(state, ({"kind": kind, "params": params},))


def lost_and(kind: str, on: str = "list", next_: int = 2, **params: Any) -> Case:
    """An answer that is lost, and a fault of the look-ups that follow: an order is looked for in the list, by its tag."""
    return Case(
        "ACCEPTED",
        ({"kind": "answer_lost"}, {"kind": kind, "on": on, "next": next_, "params": params}),
    )


def told_by(kind: str, on: str = "list", **params: Any) -> Case:
    """A fault of how the order is told, while nothing else is wrong."""
    return Case("ACCEPTED", ({"kind": kind, "on": on, "next": 3, "params": params},))


SENT: dict[str, Case] = {
    "answer lost": case("ACCEPTED", "answer_lost"),
    "refused with 503 before it was handled": case("NOT_PLACED", "refuse_before"),
    "failed with 500 after it was handled": case("ACCEPTED", "fail_after"),
    "failed with 504 after it was handled": case("ACCEPTED", "fail_after", status=504),
    "the backend is down": case("NOT_PLACED", "backend_down"),
    "the backend is down after it was handled": case("ACCEPTED", "backend_down", handled=True),
    "500 and not placed": case("NOT_PLACED", "not_placed_500"),
    "200 with errors": case("REJECTED", "errors_200"),
    "200 with one error": case("REJECTED", "errors_200", errors=["OrderQuantity"]),
    "rate limited": case("REJECTED", "rate_limited", reset_s=0),
    "answered in XML": case("ACCEPTED", "xml_answer"),
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
    "fields missing": case("ACCEPTED", "missing_fields"),
    "nothing as text": case("ACCEPTED", "empty_as_text"),
}
TOLD: dict[str, Case] = {
    "told with an unknown status": told_by("unknown_status"),
    "told with fields missing": told_by("missing_fields"),
    "told without quantities": told_by("missing_fields", remove=["exec_quantity", "avg_fill_price"], set={}),
    "told without a price": told_by("missing_fields", remove=["avg_fill_price", "last_fill_price"], set={}),
    "told without tags": told_by("missing_fields", remove=["tag"], set={}),
    "told in XML": told_by("xml_answer"),
    "told as nothing": told_by("empty_as_text"),
    "told by garbage": told_by("garbage"),
    "told as errors of the backend": told_by("backend_down"),
    "told late": told_by("lookup_lag", on="lookup", lag_ms=300),
}
SUBMITTED = {
    **SENT,
    **TOLD,
    "filled in many prints": case("ACCEPTED", "partial_fill_burst", prints=4),
    "filled before there is a price": Case(
        "ACCEPTED",
        ({"kind": "filled_without_price", "on": "lookup", "rate": 1.0, "params": {"lag_ms": 400}},),
    ),
    "answer lost and not listed at once": lost_and("lookup_lag", "lookup", lag_ms=300),
    "answer lost and lists refused": lost_and("refuse_before"),
    "answer lost and lists limited": lost_and("rate_limited", reset_s=0),
    "answer lost and a list cut off": lost_and("reset_mid_body"),
    "answer lost and a list of garbage": lost_and("garbage"),
    "answer lost and a list without ids": lost_and("missing_fields", remove=["id"], set={}),
    "answer lost and a list without tags": lost_and("missing_fields", remove=["tag"], set={}),
    "answer lost and a list of an unknown status": lost_and("unknown_status"),
    "answer lost and a page for a list": lost_and("html"),
    "answer lost and a redirected list": lost_and("redirect"),
    "answer lost and a huge list": lost_and("huge", bytes=9_000_000),
    "answer lost and a trickling list": lost_and("trickle", every_ms=10),
    "answer lost and a slow list": lost_and("slow", after_ms=1300),
    "answer lost and a list in XML": lost_and("xml_answer"),
    "answer lost and a backend that is down": lost_and("backend_down"),
}
REPLACED = {
    **SENT,
    **TOLD,
    "no such order": case("REJECTED", "unauthorized_order"),
    "answer lost and a look-up that finds no such order": lost_and("unauthorized_order", "lookup"),
    "answer lost and first not found": lost_and("not_found_once", "lookup", 1),
    "answer lost and lists refused": lost_and("refuse_before"),
    "answer lost and lists without prices": lost_and("missing_fields", remove=["price"], set={}),
}
CANCELED = {
    **SENT,
    "cancelled late": case("ACCEPTED", "cancel_slow", delay_ms=400),
    "filled instead": case("ACCEPTED", "cancel_fill_race", timeout_ms=3000),
    "no such order": case("ACCEPTED", "unauthorized_order"),
}
AT_ONCE = {
    "filled before the answer": case("ACCEPTED", "fill_before_answer"),
    "rejected a moment later": Case(
        "ACCEPTED", ({"kind": "late_rejection", "on": "accepted", "params": {"delay_ms": 50}},)
    ),
    "rejected much later": Case(
        "ACCEPTED", ({"kind": "late_rejection", "on": "accepted", "params": {"delay_ms": 600}},)
    ),
    "answer lost and rejected": Case(
        "ACCEPTED", ({"kind": "answer_lost"}, {"kind": "late_rejection", "on": "accepted"})
    ),
    "filled before there is a price": SUBMITTED["filled before there is a price"],
}
WALKS: dict[str, tuple[str, paths.Walk, dict[str, Case]]] = {
    "single": ("submit", paths.single, SUBMITTED),
    "at once": ("submit", paths.at_once, AT_ONCE),
    "batch": ("submit", paths.batch, SENT),
    "later in a batch": ("submit", paths.later_in_a_batch, SENT),
    "bracket": ("submit", paths.bracket, {**SENT, **TOLD}),
    "spread": ("submit", paths.spread, {**SENT, **TOLD}),
    "closing": ("submit", paths.closing, SENT),
    "replacing": ("replace", paths.replacing, REPLACED),
    "canceling": ("cancel", paths.canceling, CANCELED),
}
MATRIX = [
    pytest.param(on, walk, one, id=f"{path}: {name}")
    for path, (on, walk, cases) in WALKS.items()
    for name, one in cases.items()
]
ENDS = {"errors_200": "NEW", "unauthorized_order": "NEW", "cancel_fill_race": "FILLED"}
"""What an order comes to whose cancel meets this fault, where it is not cancelled."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> AsyncIterator[KeptWorld]:
    one = KeptWorld(tmp_path_factory.mktemp("tradier"), _sqlite_template)
    yield one
    await one.close()


def player(world: TradierWorld, on: str, one: Case) -> paths.Play:
    """Puts the faults of a case in force; where nothing else is said, the next time on the path's request."""

    def play(**where: Any) -> None:
        for number, wish in enumerate(one.faults):
            mine = where if number == 0 else {}
            world.fault(**{"on": on, **mine, **wish})

    return play


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("on", "walk", "one"), MATRIX)
async def test_E11_E12_no_fault_of_a_request_to_tradier_doubles_or_loses_anything(
    on: str, walk: paths.Walk, one: Case, kept: KeptWorld
) -> None:
    async with kept.lent() as world:
        told = await walked(world, walk, player(world, on, one))
        if on == "cancel":
            kind = one.faults[0]["kind"]
            assert {order["status"] for order in told} == {ENDS.get(kind, "CANCELED")}, told
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
    async with tradier_world(postgres_url, tmp_path, template) as world:
        for path, name in SAMPLE:
            on, walk, cases = WALKS[path]
            told = await walked(world, walk, player(world, on, cases[name]))
            if on != "cancel":
                assert {order["state"] for order in told} == {cases[name].state}, (path, name)
            await end(world)


def test_every_fault_of_a_request_to_tradier_is_in_the_matrix() -> None:
    tried = {wish["kind"] for _, _, cases in WALKS.values() for one in cases.values() for wish in one.faults}
    # A day that changes has tests of its own; the service asks for no previews.
    spared = {"day_rollover", "preview_down"}
    assert tried == {name for name, kind in KINDS.items() if kind.default_on != "stream"} - spared


async def test_E12_an_order_in_doubt_that_is_told_without_its_tag_is_neither_a_strangers_nor_absent(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with tradier_world(sqlite_url, tmp_path, template) as world:
        world.pin("INTC")
        world.fault("answer_lost", on="submit")
        # For longer than the horizon.
        world.fault("missing_fields", on="list", rate=1.0, params={"remove": ["tag"], "set": {}})
        order = {"symbol": "INTC", "side": "buy", "qty": 10}
        key = fresh_key()
        answer = await world.owner.execute(order, key=key)
        assert answer.status_code == 202, answer.text
        (told,) = answer.json()["orders"]
        over_s = time.monotonic() + BRISK.horizon_s + 1

        async def looked_up() -> bool:
            rows = (await referee_for(world).read()).our_orders
            return bool(rows[0]["lookup_count"] > 10) and time.monotonic() > over_s

        await world.until(looked_up)
        assert [row["id"] for row in (await referee_for(world).read()).our_orders] == [told["id"]]
        assert (await world.order(told["id"]))["state"] == "UNKNOWN"
        world.sim.faults.remove()
        await world.until_status(told["id"], "FILLED")
        await end(world)
