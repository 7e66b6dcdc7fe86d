"""`python -m runstore.cli`: the command line without its console script."""

from runstore.cli import main

main()
