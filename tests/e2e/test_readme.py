"""The README's first order, line by line as it stands there, through a power cut and a second start."""

import json
import re
import shlex
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Server

README = Path(__file__).parents[2] / "README.md"


def lines_of_the_first_order() -> list[str]:
    block = README.read_text(encoding="utf-8").split("## A first order")[1].split("```")[1]
    return block.strip().splitlines()


class Shell:
    """Just enough of a shell and of curl for the README: variables, one `$(cat FILE)`, curl's -s -X -H -d."""

    def __init__(self, server: Server, data: Path) -> None:
        self.variables: dict[str, str] = {}
        self._server = server
        self._data = data

    def run(self, line: str) -> tuple[int, dict[str, str], bytes]:
        """One line of the README."""
        password = (self._data / "owner-password").read_text().strip()
        line = line.replace("'$(cat data/owner-password)'", password)
        if line.startswith("B="):
            for name, value in (part.split("=", 1) for part in shlex.split(line.replace(";", ""))):
                self.variables[name] = value
            assert self.variables["B"] == "http://127.0.0.1:8000", "the default address"
            self.variables["B"] = f"http://127.0.0.1:{self._server.port}"
            return 0, {}, b""
        into = re.fullmatch(r"T=\$\((curl .*?) \| sed '(.*)'\)", line)
        status, headers, body = self._curl(into[1] if into else line)
        if into:
            assert status == 200, body
            # What the sed expression cuts out.
            found = re.search(rb'"access_token":"([^"]*)"', body)
            assert found is not None
            self.variables["T"] = found[1].decode()
        return status, headers, body

    def _curl(self, line: str) -> tuple[int, dict[str, str], bytes]:
        words = [
            re.sub(r"\$([A-Z])", lambda found: self.variables[found[1]], word) for word in shlex.split(line)
        ]
        assert words[:2] == ["curl", "-s"]
        method, url, headers, body = "GET", "", {}, None
        rest = iter(words[2:])
        for word in rest:
            if word == "-X":
                method = next(rest)
            elif word == "-H":
                name, value = next(rest).split(": ", 1)
                headers[name] = value
            elif word == "-d":
                body, method = next(rest).encode(), "POST"
            else:
                url = word
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, dict(problem.headers), problem.read()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def started(data: Path) -> Server:
    server = Server(data, "--migrate")
    server.wait_until_ready()
    return server


def test_the_first_order_of_the_readme_works_and_survives_a_power_cut(data: Path) -> None:
    setup, sign_in, order, positions, halt = lines_of_the_first_order()
    server = started(data)
    try:
        shell = Shell(server, data)
        shell.run(setup)
        shell.run(sign_in)
        status, _, first = shell.run(order)
        assert (status, json.loads(first)["accepted"]) == (200, True)
        status, headers, again = shell.run(order)
        assert (status, again, headers["idempotency-replayed"]) == (200, first, "true")
        assert _held(shell, positions) == [("AAPL", 10)]
        status, _, told = shell.run(halt)
        assert (status, json.loads(told)["tradingHalted"], json.loads(told)["level"]) == (
            200,
            True,
            "drained",
        )

        server.kill()
        server = started(data)
        shell = Shell(server, data)
        shell.run(setup)
        shell.run(sign_in)
        status, _, replayed = shell.run(order)
        assert (status, replayed) == (200, first)
        assert _held(shell, positions) == [("AAPL", 10)]
        status, _, refused = shell.run(order.replace("my-first-order", "my-second-order"))
        assert (status, json.loads(refused)["accepted"]) == (423, False)
        assert server.end() == 0
    finally:
        server.kill()


def _held(shell: Shell, line: str) -> list[tuple[str, Any]]:
    """The position comes with the fill, a moment after the answer."""
    for _ in range(100):
        held = [(one["symbol"], one["qty"]) for one in json.loads(shell.run(line)[2])]
        if held:
            return held
    return []
