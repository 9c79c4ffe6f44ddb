"""The benchmark's own honesty: ratios within a round, wrong answers are no answers, nothing left behind."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.figures import Series, goal, ratio
from bench.load import closed_loop, open_loop
from bench.p4_latency import time_checks

ROOT = Path(__file__).resolve().parents[2]
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@contextmanager
def server(status: str, body: bytes, wait_s: float = 0.0) -> Iterator[int]:
    """A server in a thread that gives every request the same answer."""
    answer = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    started = threading.Event()
    port = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            await asyncio.sleep(wait_s)
            writer.write(answer)
        writer.close()

    async def live() -> None:
        nonlocal port
        listening = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        started.set()
        async with listening:
            while not ending.is_set():
                await asyncio.sleep(0.02)

    ending = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        assert started.wait(10)
        yield port
    finally:
        ending.set()
        thread.join()


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratio("a / b", [10, 40], [10, 20]).values == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "wanted", "at_most", "verdict"),
    [(1.5, 1.0, False, "reached"), (0.5, 1.0, False, "missed by 50%"), (6.0, 3.0, True, "missed by 100%")],
)
def test_a_goal_says_whether_it_is_reached_or_by_how_much_it_is_missed(
    value: float, wanted: float, at_most: bool, verdict: str
) -> None:
    lines: list[str] = []
    met = goal(lines.append, "words", Series("x", "x", [value]), wanted, at_most=at_most)
    assert met is (verdict == "reached")
    assert lines[0].endswith(verdict)


def test_right_answers_are_counted() -> None:
    with server("200 OK", b'{"ok":true}') as port:
        load = closed_loop(port, [lambda: REQUEST] * 2, 0.2, b'"ok":true')
    load.require_right("server")
    assert load.per_s > 0


@pytest.mark.parametrize(("status", "body"), [("500 Oops", b'{"ok":true}'), ("200 OK", b'{"ok":false}')])
def test_an_answer_that_is_not_the_one_expected_fails_the_run(status: str, body: bytes) -> None:
    with server(status, body) as port:
        load = closed_loop(port, [lambda: REQUEST], 0.1, b'"ok":true')
    with pytest.raises(RuntimeError, match="wrong answers"):
        load.require_right("server")


def test_in_an_open_loop_waiting_for_a_connection_counts() -> None:
    # 10 requests due within 0.1 s over one connection that takes 0.05 s for each: the last waits for all others.
    with server("200 OK", b'{"ok":true}', 0.05) as port:
        load = open_loop(port, lambda: REQUEST, 100, 0.1, b'"ok":true', connections=1)
    assert len(load.latencies_s) == 10
    assert max(load.latencies_s) >= 0.35


def test_the_order_whose_checks_are_timed_passes_them_all() -> None:
    assert time_checks(3) > 0


def command(seconds: str) -> list[str]:
    """A run of P1 with one round."""
    return [sys.executable, "-m", "bench", "p1", "--seconds", seconds, "--rounds", "1"]


def test_a_tiny_run_prints_every_row(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    run = subprocess.run(command("0.1"), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr
    for words in ("limit  raw ASGI", "peer   FastAPI bare", "peer   FastAPI + pydantic", "ours   execute",
                  "ours   GET quotes", "ratio  execute", "goal   execute", "goal   signed-in GET"):  # fmt: skip
        assert words in run.stdout
    assert list(tmp_path.glob("paiid-bench-*")) == []


def test_an_interrupted_run_ends_all_it_has_started_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command("30"), cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as run:
        children: list[psutil.Process] = []
        end = time.monotonic() + 60
        while len(children) < 2 and time.monotonic() < end:
            time.sleep(0.01)
            children = psutil.Process(run.pid).children()
        # In the midst of starting the next one.
        run.send_signal(signal.SIGINT)
        told, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert told.endswith("stopped\n")
    assert len(children) >= 2
    assert [one.pid for one in children if one.is_running()] == []
    assert list(tmp_path.glob("paiid-bench-*")) == []
