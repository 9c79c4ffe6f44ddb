"""`paiid sim tradier` as its user meets it: a process, a client that knows only its URL and token, a signal, a kill, a restart."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from paiid.cli.commands import app
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from tests.e2e.processes import START_S, environment

HEADERS = {"authorization": f"Bearer {DEFAULT_TOKEN}", "accept": "application/json"}
ORDERS = f"/v1/accounts/{DEFAULT_ACCOUNT}/orders"
PATIENCE_S = 30.0
END_S = 12.0
"""The few seconds that it may take to end, and what a busy machine adds."""


class Simulator:
    """A `paiid sim tradier` of our own."""

    def __init__(self, process: "subprocess.Popen[str]", line: str) -> None:
        self.process = process
        self.line = line
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line
        self.url = found[0]

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Any answer."""
        return httpx2.request(
            method, self.url + path, **{"headers": HEADERS, "timeout": PATIENCE_S, **more}, trust_env=False
        )

    def get(self, path: str) -> Any:
        """What a path answers."""
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def place(self, tag: str, **fields: str) -> httpx2.Response:
        """Buy one AAPL."""
        form = {"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "1", "duration": "day"}
        form |= {"type": "limit" if "price" in fields else "market", "tag": tag}
        return self.ask("POST", ORDERS, data={**form, **fields})

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=END_S)


@contextmanager
def simulator(data: Path, *arguments: str) -> Iterator[Simulator]:
    """The process on a free port, until it has said that it serves."""
    log = data.parent / "sim.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "paiid", "sim", "tradier", "--port", "0", *arguments],
            env=environment(data), stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        made = Simulator(process, line)
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            try:
                made.get("/v1/markets/clock")
                break
            except httpx2.TransportError:
                time.sleep(0.02)
        yield made
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def until_status(sim: Simulator, order_id: int, status: str) -> dict[str, Any]:
    """The order once it has this status."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        order: dict[str, Any] = sim.get(f"{ORDERS}/{order_id}?includeTags=true")["order"]
        if order["status"] == status:
            return order
        assert time.monotonic() < give_up_at, order
        time.sleep(0.02)


def test_a_client_trades_by_url_and_token_alone_and_a_restart_remembers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with simulator(data, "--partial-fills", "0") as sim:
        for word in (sim.url + "/v1", sim.url + "/sim", "/v1/{markets,accounts}/events", DEFAULT_TOKEN):
            assert word in sim.line
        assert DEFAULT_ACCOUNT in sim.line
        assert sim.get("/v1/user/profile")["profile"]["account"]["account_number"] == DEFAULT_ACCOUNT
        order_id = sim.place("first-1").json()["order"]["id"]
        order = until_status(sim, order_id, "filled")
        assert (order["tag"], order["exec_quantity"]) == ("first-1", 1.0)
        url = sim.ask("POST", "/v1/markets/events/session").json()["stream"]["url"]
        assert url == sim.url + "/v1/markets/events"
        assert sim.ask("GET", ORDERS).headers["x-ratelimit-allowed"] == "120"
        assert sim.end() == 0
    assert (data / "sim-tradier" / "accounts.json").stat().st_mode & 0o077 == 0
    with simulator(data) as sim:
        assert sim.get(f"{ORDERS}/{order_id}?includeTags=true")["order"]["tag"] == "first-1"
        assert sim.get(ORDERS)["orders"]["order"]["id"] == order_id
        held = sim.get(f"/v1/accounts/{DEFAULT_ACCOUNT}/positions")["positions"]["position"]
        assert (held["symbol"], held["quantity"]) == ("AAPL", 1.0)
        summary = sim.get("/sim/ledger/summary")
        assert summary["accepted"] == {DEFAULT_ACCOUNT: {"first-1": 1}}
        assert sim.place("second-1").json()["order"]["id"] > order_id
        assert sim.end() == 0


def test_options_of_the_command_reach_the_simulator(tmp_path: Path) -> None:
    data = tmp_path / "data"
    wished = ["--token", "test-token-mine:VA00000042", "--sandbox", "--no-null-text", "--rate-limit", "7"]
    with simulator(data, "--fresh", *wished) as sim:
        assert "test-token-mine" not in sim.line
        assert "sandbox" in sim.line
        mine = {**HEADERS, "authorization": "Bearer test-token-mine"}
        told = sim.ask("GET", "/v1/accounts/VA00000042/positions", headers=mine)
        assert told.json() == {"positions": None}
        assert told.headers["x-ratelimit-allowed"] == "7"
        assert sim.ask("POST", "/v1/markets/events/session").status_code >= 400
        assert sim.get("/sim")["sandbox"] is True
        second = ask(data)
        assert (second.exit_code, "another simulator" in second.output) == (1, True)


def test_a_kill_loses_no_order_and_an_answer_can_be_lost_by_a_reset(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with simulator(data, "--data", str(tmp_path / "sim")) as sim:
        sim.ask("POST", "/sim/faults", json={"kind": "answer_lost"})
        with pytest.raises(httpx2.TransportError):
            sim.place("lost", price="1", duration="gtc")
        sim.process.kill()
        sim.process.wait()
    with simulator(data, "--data", str(tmp_path / "sim")) as sim:
        found = sim.get(f"{ORDERS}?includeTags=true")["orders"]["order"]
        assert (found["tag"], found["status"]) == ("lost", "open")
        kinds = [one["kind"] for one in sim.get("/sim/ledger")["entries"]]
        first = kinds.index("control")
        assert kinds[first : first + 4] == ["control", "request", "order_accepted", "fault"]


def ask(data: Path, *arguments: str) -> Result:
    """The command within this process, as far as its options are looked at."""
    command = ["sim", "tradier", "--port", "0", *arguments]
    return CliRunner().invoke(app, command, env={"DATA_DIR": str(data), "NO_COLOR": "1", "COLUMNS": "200"})


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "0.0.0.0"], "--public"),
        (["--host", "example.org"], "IP address"),
        (["--hours", "sometimes"], "--hours"),
        (["--token", ":VA1"], "TOKEN"),
        (["--token", "a:"], "TOKEN"),
        (["--market-first-legs", "maybe"], "allow or deny"),
        (["--rate-limit", "-1"], "rate-limit"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(tmp_path: Path, arguments: list[str], word: str) -> None:
    ended = ask(tmp_path / "data", *arguments)
    assert ended.exit_code == 2
    assert word in ended.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("token", ["with space", "good:VA/1"])
def test_a_token_that_fits_no_header_or_path_is_told_in_one_line(tmp_path: Path, token: str) -> None:
    # In a process of its own: it gets as far as to say where the log goes.
    ended = subprocess.run(
        [sys.executable, "-m", "paiid", "sim", "tradier", "--port", "0", "--token", token],
        env=environment(tmp_path / "data"), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2
    assert "token is" in said or "account number is" in said
    assert token.partition(":")[0] not in said
