"""`python -m paiid` is the command `paiid`."""

from paiid.cli import main

main()
