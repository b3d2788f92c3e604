"""`python -m cli`: the command line, for when its console script is not on the path."""

from cli import main

main()
