"""`paiid sim alpaca`: a simulated Alpaca on this machine, for bots and tests that speak to the real one."""

from pathlib import Path

from paiid.cli.session import fail
from paiid.cli.sim import Plan, check_host, data_dir_of, hours_named, run
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET, BadKeys
from paiid.sim.alpaca.world import SimWish, opened


def run_alpaca(
    host: str,
    port: int,
    data: Path | None,
    *,
    fresh: bool,
    public: bool,
    seed: int,
    hours: str,
    rate_limit: int,
    partial_fills: float,
    key: str | None,
    connections: int,
    text_frames: bool,
    sync: bool,
) -> None:
    """The command; returns once it has ended cleanly."""
    check_host(host, public, "keys are")
    wish = SimWish(
        data_dir_of(data, "sim-alpaca"),
        seed=seed,
        hours=hours_named(hours),
        rate_limit=rate_limit,
        partial_fills=partial_fills,
        key=_pair(key),
        max_connections=connections,
        text_frames=text_frames,
        sync_ledger=sync,
    )
    secrets = [DEFAULT_SECRET, *([] if wish.key is None else [wish.key[1]])]
    plan = Plan(
        wish.data_dir, lambda clock: opened(wish, clock), BadKeys, lambda url: _first_line(url, wish), secrets
    )
    run(plan, host, port, fresh=fresh)


def _first_line(url: str, wish: SimWish) -> str:
    key_id, secret = wish.key or (DEFAULT_KEY_ID, DEFAULT_SECRET)
    keys = f"key {key_id}" + (f" with secret {secret}" if wish.key is None else "")
    stream = url.replace("http", "ws", 1) + "/stream"
    return f"Simulated Alpaca on {url}, stream on {stream}; {keys}; control it at {url}/sim"


def _pair(key: str | None) -> tuple[str, str] | None:
    if key is None:
        return None
    key_id, colon, secret = key.partition(":")
    if not (key_id and colon and secret):
        fail("--key must be ID:SECRET", 2)
    return key_id, secret
