"""`paiid sim alpaca` as its user meets it: a process, Alpaca's own client library, a signal, a restart."""

import json
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
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from tests.e2e.processes import START_S, environment

KEYS = {"APCA-API-KEY-ID": DEFAULT_KEY_ID, "APCA-API-SECRET-KEY": DEFAULT_SECRET}
PATIENCE_S = 30.0
"""Only guards against hanging."""
END_S = 12.0
"""The few seconds that it may take to end, and what a busy machine adds."""
CLIENT = """
import asyncio, json, sys
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import *
from alpaca.trading.enums import *
from alpaca.trading.stream import TradingStream

key, secret, url = sys.argv[1:]
client = TradingClient(key, secret, paper=True, url_override=url)
account = client.get_account()
told = []

async def main():
    stream = TradingStream(key, secret, url_override=url.replace("http", "ws") + "/stream")
    listening = asyncio.Event()
    ended = asyncio.Event()

    async def heard(update):
        event = str(getattr(update.event, "value", update.event))
        told.append([event, str(update.order.id), update.qty, update.position_qty])
        if event == "canceled":
            ended.set()

    stream.subscribe_trade_updates(heard)
    running = asyncio.create_task(stream._run_forever())
    while not stream._running:
        await asyncio.sleep(0.01)

    def trade():
        market = client.submit_order(MarketOrderRequest(
            symbol="AAPL", qty=3, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id="sdk-1"))
        while client.get_order_by_client_id("sdk-1").status != OrderStatus.FILLED:
            pass
        limit = client.submit_order(LimitOrderRequest(
            symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=1))
        while client.get_order_by_id(limit.id).status != OrderStatus.NEW:
            pass
        client.cancel_order_by_id(limit.id)
        return market, limit

    market, limit = await asyncio.to_thread(trade)
    await asyncio.wait_for(ended.wait(), 30)
    await stream.stop_ws()
    await running
    (position,) = client.get_all_positions()
    orders = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL))
    print(json.dumps({
        "account": account.account_number, "status": account.status.value,
        "market": str(market.id), "limit": str(limit.id), "first_status": market.status.value,
        "told": told, "position": position.qty, "orders": [one.status.value for one in orders],
        "asset": client.get_asset("AAPL").symbol, "open": client.get_clock().is_open,
    }))

asyncio.run(main())
"""


class Simulator:
    """A `paiid sim alpaca` of our own."""

    def __init__(self, process: "subprocess.Popen[str]", line: str) -> None:
        self.process = process
        self.line = line
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line
        self.url = found[0]

    def get(self, path: str) -> Any:
        """What a path answers."""
        answer = httpx2.get(self.url + path, headers=KEYS, trust_env=False, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

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
            [sys.executable, "-m", "paiid", "sim", "alpaca", "--port", "0", *arguments],
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
                made.get("/v2/clock")
                break
            except httpx2.TransportError:
                time.sleep(0.02)
        yield made
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_alpacas_own_client_trades_and_a_restart_remembers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with simulator(data, "--partial-fills", "0") as sim:
        for word in (sim.url + "/sim", "/stream", DEFAULT_KEY_ID, DEFAULT_SECRET):
            assert word in sim.line
        script = tmp_path / "client.py"
        script.write_text(CLIENT)
        client = subprocess.run(
            [sys.executable, str(script), DEFAULT_KEY_ID, DEFAULT_SECRET, sim.url],
            env=environment(data), capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert client.returncode == 0, client.stderr
        said = json.loads(client.stdout)
        assert said["first_status"] == "pending_new"
        assert [(event, order == said["market"]) for event, order, _, _ in said["told"]] == [
            ("new", True),
            ("fill", True),
            ("new", False),
            ("canceled", False),
        ]
        assert said["told"][1][2:] == [3.0, 3.0]
        assert (said["position"], sorted(said["orders"])) == ("3", ["canceled", "filled"])
        assert (said["status"], said["asset"], said["open"]) == ("ACTIVE", "AAPL", True)
        assert sim.end() == 0
    assert (data / "sim-alpaca" / "accounts.json").stat().st_mode & 0o077 == 0
    with simulator(data) as sim:
        assert sim.get("/v2/account")["account_number"] == said["account"]
        assert sim.get("/v2/orders:by_client_order_id?client_order_id=sdk-1")["id"] == said["market"]
        assert [one["qty"] for one in sim.get("/v2/positions")] == ["3"]
        accepted = sim.get("/sim/ledger/summary")["accepted"][said["account"]]
        assert accepted["sdk-1"] == 1
        assert sim.end() == 0
    with simulator(data, "--fresh", "--key", "PKTESTMINE:test-secret-mine") as sim:
        assert "test-secret-mine" not in sim.line
        assert sim.get("/v2/positions") == []
        mine = {"APCA-API-KEY-ID": "PKTESTMINE", "APCA-API-SECRET-KEY": "test-secret-mine"}
        assert (
            httpx2.get(sim.url + "/v2/account", headers=mine, trust_env=False, timeout=PATIENCE_S).status_code
            == 200
        )
        second = ask(data)
        assert (second.exit_code, "another simulator" in second.output) == (1, True)


def test_a_kill_loses_no_order_and_an_answer_can_be_lost_by_a_reset(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with simulator(data, "--data", str(tmp_path / "sim")) as sim:
        httpx2.post(
            sim.url + "/sim/faults", json={"kind": "answer_lost"}, trust_env=False, timeout=PATIENCE_S
        )
        order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1"}
        body = {**order, "time_in_force": "gtc", "client_order_id": "lost"}
        with pytest.raises(httpx2.TransportError):
            httpx2.post(sim.url + "/v2/orders", json=body, headers=KEYS, trust_env=False, timeout=PATIENCE_S)
        sim.process.kill()
        sim.process.wait()
    with simulator(data, "--data", str(tmp_path / "sim")) as sim:
        found = sim.get("/v2/orders:by_client_order_id?client_order_id=lost")
        assert found["status"] == "new"
        kinds = [one["kind"] for one in sim.get("/sim/ledger")["entries"]]
        first = kinds.index("control")
        assert kinds[first : first + 4] == ["control", "request", "order_accepted", "fault"]


def ask(data: Path, *arguments: str) -> Result:
    """The command within this process, as far as its options are looked at."""
    command = ["sim", "alpaca", "--port", "0", *arguments]
    return CliRunner().invoke(app, command, env={"DATA_DIR": str(data), "NO_COLOR": "1", "COLUMNS": "200"})


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--host", "0.0.0.0"], 2, "--public"),
        (["--host", "example.org"], 2, "IP address"),
        (["--hours", "sometimes"], 2, "--hours"),
        (["--key", "alone"], 2, "ID:SECRET"),
        (["--partial-fills", "2"], 2, "partial"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    ended = ask(tmp_path / "data", *arguments)
    assert ended.exit_code == code
    assert word in ended.output
    assert not (tmp_path / "data").exists()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_text("cat")
    ended = ask(tmp_path, "--data", str(tmp_path / "photos"), "--fresh")
    assert ended.exit_code == 2
    assert (tmp_path / "photos" / "cat").read_text() == "cat"
