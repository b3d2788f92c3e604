"""Compute and simulate costs and limits: `python -m benchmarks.scale`.

It prints the tables of docs/explanation/scaling.md and benchmarks/results/scale.md, in seconds, and
calls no service.
`--inputs FILE` reads prices and habits from a file like benchmarks/scale/inputs.json.
`python -m benchmarks.pages` writes the tables into these pages.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.arguments import OneLineParser, errors_in_one_line
from benchmarks.scale.inputs import DEFAULTS, Inputs
from benchmarks.scale.tables import TABLES


def main() -> None:
    """Print the given tables, or all."""
    parser = OneLineParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"tables to print: {', '.join(TABLES)}"
    )
    parser.add_argument(
        "--inputs", type=Path, default=DEFAULTS, help="JSON file of prices and habits"
    )
    asked = parser.parse_args()
    if unknown := set(asked.tables) - TABLES.keys():
        parser.error(f"no such table: {', '.join(sorted(unknown))}")
    try:
        inputs = Inputs.read(asked.inputs)
    except (OSError, ValueError, TypeError, KeyError) as error:
        parser.error(f"{asked.inputs}: {type(error).__name__}: {error}")
    with errors_in_one_line(parser.prog):
        for name in asked.tables or TABLES:
            sys.stdout.write(f"<!-- table {name} -->\n{TABLES[name](inputs)}\n\n")


if __name__ == "__main__":
    main()
