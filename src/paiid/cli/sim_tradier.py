"""`paiid sim tradier`: a simulated Tradier on this machine, for bots and tests that speak to the real one."""

from pathlib import Path

from paiid.cli.session import fail
from paiid.cli.sim import Plan, check_host, data_dir_of, hours_named, run
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN, BadToken
from paiid.sim.tradier.world import SimWish, opened


def run_tradier(
    host: str,
    port: int,
    data: Path | None,
    *,
    fresh: bool,
    public: bool,
    seed: int,
    hours: str,
    rate_limit: int | None,
    partial_fills: float,
    token: str | None,
    sandbox: bool,
    null_text: bool,
    market_first_legs: str,
    sync: bool,
) -> None:
    """The command; returns once it has ended cleanly."""
    check_host(host, public, "token is")
    if market_first_legs not in ("allow", "deny"):
        fail("--market-first-legs must be allow or deny", 2)
    wish = SimWish(
        data_dir_of(data, "sim-tradier"),
        seed=seed,
        hours=hours_named(hours),
        partial_fills=partial_fills,
        sync_ledger=sync,
        sandbox=sandbox,
        null_text=null_text,
        allow_market_first_leg=market_first_legs == "allow",
        rate_limit=rate_limit,
        token=_token(token),
    )
    secrets = [DEFAULT_TOKEN, *([] if wish.token is None else [wish.token[0]])]
    plan = Plan(
        wish.data_dir,
        lambda clock: opened(wish, clock),
        BadToken,
        lambda url: _first_line(url, wish),
        secrets,
    )
    run(plan, host, port, fresh=fresh)


def _first_line(url: str, wish: SimWish) -> str:
    """The token of the command line is not said again."""
    ours = f"token {DEFAULT_TOKEN} for account {DEFAULT_ACCOUNT}"
    mine = "" if wish.token is None else f", and yours for {wish.token[1] or 'an account of its own'}"
    streams = url.replace("http", "ws", 1) + "/v1/{markets,accounts}/events"
    name = "Simulated Tradier sandbox" if wish.sandbox else "Simulated Tradier"
    return f"{name} on {url}/v1, streams on {streams}; {ours}{mine}; control it at {url}/sim"


def _token(given: str | None) -> tuple[str, str | None] | None:
    if given is None:
        return None
    token, colon, account = given.partition(":")
    if not token or (colon and not account):
        fail("--token must be TOKEN or TOKEN:ACCOUNT", 2)
    return token, account or None
