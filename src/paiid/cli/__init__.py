"""The command `paiid`: serve the API, and look after it on its own host."""

import os


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    # The database, the lock and the latch are nobody else's business, whatever the shell's mask says.
    os.umask(0o077)
    # Imported here, so that importing the package costs nothing.
    from paiid.cli.commands import app

    app(prog_name="paiid")
