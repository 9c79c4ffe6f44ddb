"""The bench at the simulated Alpaca: what is added is taken round by round, a refused order fails the run, and it runs."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from bench.figures import Series
from bench.p4_alpaca import _Way, added, quantile_ms

ROOT = Path(__file__).resolve().parents[2]


def answering(status: int, body: dict[str, object]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(status, json=body)))


def way() -> _Way:
    return _Way("ours", lambda client, name: client.get(f"http://test/{name}"), lambda told: told["accepted"])


def test_what_is_added_is_taken_within_each_round() -> None:
    ours, bare = Series("ours", "ms", [5.0, 40.0]), Series("bare", "ms", [2.0, 36.0])
    assert added(ours, bare, "ms").values == [3.0, 4.0]


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile_ms([0.001, 0.002, 0.003, 0.004], share) for share in (0.0, 0.5, 0.99)] == [1.0, 3.0, 4.0]


@pytest.mark.parametrize(("status", "accepted"), [(500, True), (200, False)])
async def test_an_order_that_is_not_taken_fails_the_run(status: int, accepted: bool) -> None:
    async with answering(status, {"accepted": accepted}) as client:
        with pytest.raises(RuntimeError, match="ours"):
            await way().place(client, "one")


async def test_the_first_round_is_forgotten() -> None:
    ours = way()
    async with answering(200, {"accepted": True}) as client:
        await ours.place(client, "one")
        ours.end_round(count=False)
        await ours.place(client, "two")
        ours.end_round(count=True)
    assert (len(ours.p50.values), len(ours.p99.values)) == (1, 1)


def test_a_tiny_run_prints_every_row_and_leaves_nothing_behind(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "p4a", "--seconds", "0.1", "--rounds", "1"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    for words in (
        "limit  bare httpx2 client",
        "ours   execute, SQLite",
        "ours   added to the bare call",
        "goal   added, p50",
    ):
        assert words in run.stdout
    assert list(tmp_path.glob("paiid-bench-*")) == []
