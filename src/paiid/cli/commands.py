"""The command tree: what exists, with its help. The work is imported when a command runs, so help is quick."""

from pathlib import Path
from typing import Annotated

import typer

_EPILOG = "Configuration comes from environment variables; `paiid doctor` shows what is in force."

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="PaiiD: a self-hosted trading service in which a retry can never buy twice.",
    epilog=_EPILOG,
)
users = typer.Typer(no_args_is_help=True, help="Who may sign in.")
tokens = typer.Typer(no_args_is_help=True, help="API tokens for scripts.")
orders = typer.Typer(no_args_is_help=True, help="Look at orders, and settle one that stays in doubt.")
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(orders, name="orders")
simulators = typer.Typer(no_args_is_help=True, help="Simulated brokers, for your own bots and tests.")
app.add_typer(simulators, name="sim")
reconcile = typer.Typer(no_args_is_help=True, help="How the ledger stands with the brokers' own books.")
app.add_typer(reconcile, name="reconcile")

Email = Annotated[str, typer.Argument(help="The user's e-mail address.", metavar="EMAIL")]
ScopeOption = Annotated[
    str, typer.Option("--scope", help="global, account:ID, user:ID or symbol:TICKER.", metavar="SCOPE")
]
Stdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin", help="Read the password from standard input instead of asking on the terminal."
    ),
]


@app.command()
def serve(
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring the database up to this version first.")
    ] = False,
) -> None:
    """Serve the API until SIGTERM or Ctrl-C; ends within 5 seconds of it.

    Refuses to start (exit code 2) with settings that are wrong, telling one line for each problem; and (exit code 1)
    beside another server on the same SQLite file, on a port in use, or on a database of another version.
    """
    from paiid.cli.lean import import_without_colours

    import_without_colours()
    from paiid.cli.serve import run

    run(migrate_first=migrate)


@app.command()
def doctor() -> None:
    """Show the effective configuration, secrets masked, and probe each dependency.

    Asks Alpaca and Tradier, where their keys are set, for the accounts and for one quote. Exit code 1 if something is
    down, 2 if the settings are wrong. Beside a running server it disturbs nothing.
    """
    from paiid.cli.doctor import run

    run()


@app.command()
def migrate() -> None:
    """Bring the database up to this version. A database that is newer than this version is refused."""
    from paiid.cli.migrate import run

    run()


@app.command()
def halt(
    scope: ScopeOption = "global",
    mode: Annotated[
        str, typer.Option("--mode", help="halted, or reduce_only: only orders that shrink a position.")
    ] = "halted",
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept in the audit and shown to everyone halted.")
    ] = "halted on the host",
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Also ask for the cancellation of every open order of the scope."),
    ] = False,
) -> None:
    """Stop trading, with or without a running server.

    Written to the database: in force for every server at once. Where the database cannot be reached, the latch
    file in DATA_DIR halts the server on this host (the whole of it, whatever the scope), and the exit code is 1.
    """
    from paiid.cli.halt import arm

    arm(scope, mode, reason, cancel)


@app.command()
def resume(
    reason: Annotated[str, typer.Option("--reason", help="Why it is safe; kept in the audit.")],
    scope: ScopeOption = "global",
    epoch: Annotated[
        int | None,
        typer.Option("--epoch", help="The epoch you have looked at; refused if the halt changed since."),
    ] = None,
) -> None:
    """Let trading in a scope go on.

    Refused while orders of the scope are in doubt or its positions do not agree with the broker's.
    """
    from paiid.cli.halt import lift

    lift(scope, epoch, reason)


@app.command()
def backup(
    file: Annotated[
        str | None,
        typer.Argument(
            help="Where to; - is standard output, DATA_DIR/backups with the time as name if not given.",
            metavar="FILE",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check that FILE is whole; nothing is written.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, help="Then remove all but so many of the backups named by this command."
        ),
    ] = None,
) -> None:
    """Write everything in the database, as of one instant, to a file. Beside a running server it holds nothing up.

    The file holds password hashes and the install's own secrets. It can be restored into SQLite and into PostgreSQL.
    """
    from paiid.cli import backup as work

    if not verify:
        work.make(file, keep)
    elif file is None or file == "-":
        raise typer.BadParameter("name the file to check")
    else:
        work.verify(file)


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="A file that `paiid backup` has made.", metavar="FILE")],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Also where there are users: a SQLite file is put aside, what PostgreSQL holds is dropped.",
        ),
    ] = False,
    keep_tokens: Annotated[
        bool,
        typer.Option("--keep-tokens", help="Keep API tokens, also those that were revoked after the backup."),
    ] = False,
) -> None:
    """Make the database of a backup: all of it, or nothing. No server may be running.

    Trading comes up halted, and cannot be resumed before a server has fetched the orders that the brokers have taken
    since the backup. Sessions end, and API tokens are revoked.
    """
    from paiid.cli.restore import run

    run(file, replace=replace, keep_tokens=keep_tokens)


@app.command("restore-accept")
def restore_accept(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    reason: Annotated[str, typer.Option("--reason", help="How you know; kept in the audit.")],
) -> None:
    """Say of a restored account that no order since the backup is missing, where its broker does not tell. Audited.

    A key that was used after the backup, and whose order is not in the ledger, would be executed anew by a retry.
    """
    from paiid.cli.restore import accept

    accept(account, reason)


@users.command("add")
def user_add(
    email: Email,
    role: Annotated[str, typer.Option("--role", help="owner, trader or viewer.")] = "trader",
    password_stdin: Stdin = False,
) -> None:
    """Add a user. The password is asked for, 8 to 128 characters; it is never an argument."""
    from paiid.cli.users import add

    add(email, role, password_stdin)


@users.command("invite")
def user_invite(
    email: Email,
    role: Annotated[str, typer.Option("--role", help="trader or viewer.")] = "trader",
    hours: Annotated[int, typer.Option("--hours", min=1, max=720, help="Hours until it expires.")] = 72,
) -> None:
    """Let somebody register with a password of his own. The code is shown once, alone on standard output."""
    from paiid.cli.users import invite

    invite(email, role, hours)


@users.command("list")
def user_list() -> None:
    """List users with role and state."""
    from paiid.cli.users import show_all

    show_all()


@users.command("disable")
def user_disable(email: Email) -> None:
    """Keep a user out: ends every session, revokes every token; no order of theirs can be claimed any more."""
    from paiid.cli.users import disable

    disable(email)


@users.command("enable")
def user_enable(email: Email) -> None:
    """Let a disabled user sign in again."""
    from paiid.cli.users import enable

    enable(email)


@users.command("role")
def user_role(
    email: Email, role: Annotated[str, typer.Argument(help="owner, trader or viewer.", metavar="ROLE")]
) -> None:
    """Change a user's role."""
    from paiid.cli.users import change_role

    change_role(email, role)


@users.command("password")
def user_password(email: Email, password_stdin: Stdin = False) -> None:
    """Set a new password, asked for on the terminal; ends every session of the user."""
    from paiid.cli.users import change_password

    change_password(email, password_stdin)


@tokens.command("new")
def token_new(
    email: Email,
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="read, trade or halt; may be repeated.")] = [  # noqa: B006 - typer copies it
        "read"
    ],
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=3650, help="Days until it expires; never, if not given."),
    ] = None,
) -> None:
    """Make an API token. It is shown once, alone on standard output."""
    from paiid.cli.tokens import new

    new(email, name, scope, days)


@tokens.command("revoke")
def token_revoke(
    email: Email,
    token_id: Annotated[str, typer.Argument(help="The token's id, as `token list` shows it.", metavar="ID")],
) -> None:
    """Revoke an API token at once."""
    from paiid.cli.tokens import revoke

    revoke(email, token_id)


@tokens.command("list")
def token_list(email: Email) -> None:
    """List a user's API tokens; the secrets are not kept and cannot be shown."""
    from paiid.cli.tokens import show_all

    show_all(email)


@orders.command("list")
def orders_list(
    account: Annotated[str | None, typer.Option("--account", help="Only this account's.")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Only in this state, such as UNKNOWN or ACCEPTED.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 50,
) -> None:
    """List orders, newest first."""
    from paiid.cli.orders import show

    show(account, state, limit)


@orders.command("settle")
def orders_settle(
    order_id: Annotated[str, typer.Argument(help="The order's id.", metavar="ID")],
    outcome: Annotated[
        str, typer.Argument(help="placed or not-placed, as the broker itself told you.", metavar="OUTCOME")
    ],
) -> None:
    """Say what became of an order that is UNKNOWN, after asking the broker. Audited; it cannot be taken back.

    Most are settled by themselves within a minute. Not so where the broker does not answer, and where it has forgotten
    the order with its day, as Tradier does.
    """
    from paiid.cli.orders import settle

    settle(order_id, outcome)


@reconcile.command("list")
def reconcile_list() -> None:
    """List accounts with their broker, when their books last agreed with it, and what differs."""
    from paiid.cli.reconcile import show_all

    show_all()


@reconcile.command("accept")
def reconcile_accept(
    account: Annotated[str, typer.Argument(help="The account's id.", metavar="ACCOUNT")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why the broker is right; kept in the audit.")
    ] = "accepted on the host",
) -> None:
    """Accept the broker's books: the ledger is brought to them, the problem and its alarms are cleared. Audited.

    What was missed is fetched first. Refused while orders are in doubt or fill; nothing is sent to the broker.
    """
    from paiid.cli.reconcile import accept

    accept(account, reason)


@simulators.command("alpaca")
def sim_alpaca(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8790,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where books and ledger are; DATA_DIR/sim-alpaca if not given."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget all orders, accounts and the ledger.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the market, of partial fills and of faults.")] = 1,
    hours: Annotated[str, typer.Option("--hours", help="always, or exchange.")] = "always",
    rate_limit: Annotated[
        int, typer.Option("--rate-limit", min=0, help="Requests of an account in a minute; 0 for no limit.")
    ] = 200,
    partial_fills: Annotated[
        float, typer.Option("--partial-fills", min=0, max=1, help="Share of orders that fill in part first.")
    ] = 0.1,
    key: Annotated[
        str | None, typer.Option("--key", help="One more pair of keys.", metavar="ID:SECRET")
    ] = None,
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="Sockets of an account at a time.")
    ] = 2,
    text_frames: Annotated[
        bool,
        typer.Option(
            "--text-frames", help="Text frames, as on live; binary ones, as on paper, if not given."
        ),
    ] = False,
    sync: Annotated[
        bool, typer.Option("--sync", help="Have each entry of the ledger on the disk before going on.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Allow a --host that other machines can reach.")
    ] = False,
) -> None:
    """Simulate Alpaca's trading and market data API, its streams and its failures, until SIGTERM or Ctrl-C.

    Real clients work against it, given its URL (docs/simulator-alpaca.md). How to make it fail stands in docs/simulators.md.
    """
    from paiid.cli.sim_alpaca import run_alpaca

    run_alpaca(
        host, port, data, fresh=fresh, public=public, seed=seed, hours=hours, rate_limit=rate_limit,
        partial_fills=partial_fills, key=key, connections=connections, text_frames=text_frames, sync=sync,
    )  # fmt: skip


@simulators.command("tradier")
def sim_tradier(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8791,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Where books and ledger are; DATA_DIR/sim-tradier if not given."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget all orders, accounts and the ledger.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the market, of partial fills and of faults.")] = 1,
    hours: Annotated[str, typer.Option("--hours", help="always, or exchange.")] = "always",
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="As Tradier's sandbox: quotes 15 minutes old, no market stream, no history, no orders overnight.",
        ),
    ] = False,
    rate_limit: Annotated[
        int | None,
        typer.Option(
            "--rate-limit",
            min=0,
            help="Requests of a token in a minute in each bucket; 0 for no limit, Tradier's own if not given.",
        ),
    ] = None,
    partial_fills: Annotated[
        float, typer.Option("--partial-fills", min=0, max=1, help="Share of orders that fill in part first.")
    ] = 0.1,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help="One more token, for this account or one of its own.",
            metavar="TOKEN[:ACCOUNT]",
        ),
    ] = None,
    null_text: Annotated[
        bool,
        typer.Option(
            "--null-text/--no-null-text", help='An empty collection is the text "null", or else null.'
        ),
    ] = True,
    market_first_legs: Annotated[
        str,
        typer.Option(
            "--market-first-legs", help="allow or deny market orders as the entry of an oto or otoco."
        ),
    ] = "deny",
    sync: Annotated[
        bool, typer.Option("--sync", help="Have each entry of the ledger on the disk before going on.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Allow a --host that other machines can reach.")
    ] = False,
) -> None:
    """Simulate Tradier's brokerage and market data API, its streams and its failures, until SIGTERM or Ctrl-C.

    Real clients work against it, given its URL (docs/simulator-tradier.md). How to make it fail stands in docs/simulators.md.
    """
    from paiid.cli.sim_tradier import run_tradier

    run_tradier(
        host, port, data, fresh=fresh, public=public, seed=seed, hours=hours, rate_limit=rate_limit,
        partial_fills=partial_fills, token=token, sandbox=sandbox, null_text=null_text,
        market_first_legs=market_first_legs, sync=sync,
    )  # fmt: skip
