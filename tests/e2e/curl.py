"""Just enough of a shell and of curl for the commands in our documents, so that no machine needs either."""

import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]
_PATIENCE_S = 30.0
"""Only guards against hanging."""
_INTO = re.compile(r"([A-Z])=\$\((curl .*?)(?: \| (sed|python3 -c) '(.*)')?\)")


class Shell:
    """Variables of one letter, one `$(cat FILE)`, `X=$(curl … | sed …)` for the token, `X=$(curl … | python3 -c …)`, and
    curl's -s -X -H -d. The documents' default address becomes that of the server under test."""

    def __init__(self, port: int, data: Path) -> None:
        self.variables: dict[str, str] = {}
        self._base = f"http://127.0.0.1:{port}"
        self._data = data

    def wait_until_ready(self) -> None:
        """Until the server takes orders: it serves a moment before."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while (answer := self._curl(f"curl -s {self._base}/api/health/ready"))[0] != 200:
            assert time.monotonic() < give_up_at, answer
            time.sleep(0.05)

    def run(self, line: str) -> Answer:
        """One line of a document."""
        password = (self._data / "owner-password").read_text().strip()
        line = line.replace("'$(cat data/owner-password)'", password)
        into = _INTO.fullmatch(line)
        if into:
            status, headers, body = self._curl(into[2])
            assert status == 200, (line, body)
            self.variables[into[1]] = self._cut(into[3], into[4], body)
            return status, headers, body
        if re.match(r"[A-Z]=", line):
            self._set(line)
            return 0, {}, b""
        return self._curl(line)

    def _set(self, line: str) -> None:
        for part in shlex.split(line.replace(";", " ")):
            name, value = part.split("=", 1)
            if name == "B":
                assert value == "http://127.0.0.1:8000", "the default address"
                value = self._base
            self.variables[name] = self._filled(value)

    @staticmethod
    def _cut(tool: str, program: str, body: bytes) -> str:
        if tool == "sed":
            # What the sed expression of the documents cuts out.
            found = re.search(rb'"access_token":"([^"]*)"', body)
            assert found is not None
            return found[1].decode()
        done = subprocess.run(
            [sys.executable, "-c", program], input=body, capture_output=True, timeout=30, check=True
        )
        return done.stdout.decode().strip()

    def _filled(self, text: str) -> str:
        return re.sub(r"\$([A-Z])\b", lambda found: self.variables[found[1]], text)

    def _curl(self, line: str) -> Answer:
        # A variable between single quotes stands outside of them: '…'$C'…' is one word.
        words = [self._filled(word) for word in shlex.split(line)]
        assert words[:2] == ["curl", "-s"], line
        method, url, headers, body = "GET", "", {}, None
        rest = iter(words[2:])
        for word in rest:
            if word == "-X":
                method = next(rest)
            elif word == "-H":
                name, value = next(rest).split(": ", 1)
                headers[name] = value
            elif word == "-d":
                body = next(rest).encode()
                method = "POST" if method == "GET" else method
            else:
                url = word
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, dict(problem.headers), problem.read()
