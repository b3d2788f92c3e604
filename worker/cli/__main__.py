"""`python -m worker.cli`: the command line, where its console script is not on the path."""

from worker.cli import main

main()
