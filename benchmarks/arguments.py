"""Command lines of the benchmarks: usage errors and expected failures end with one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from operations.embedded_aws import EmbeddedAwsError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


class BenchmarkError(Exception):
    """A benchmark failed; the text is one line that says what and where.

    Attributes:
        log: the last lines that the failed process wrote.
    """

    def __init__(self, text: str, log: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.log = log


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports bad usage in one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type of argument: an integer from `least` to `most`."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text} is not {bounds}")
        return value

    parse.__name__ = "whole number"  # argparse prints it if the text is not a number
    return parse


def part(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


@contextmanager
def errors_in_one_line(program: str) -> Iterator[None]:
    """End the program with one line for errors that the machine or the user can cause."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BenchmarkError as error:
        print(*(f"  {line}" for line in error.log), sep="\n", end="\n" * bool(error.log))
        raise SystemExit(f"{program}: {error}") from None
    except EmbeddedAwsError as error:
        raise SystemExit(f"{program}: {error}") from None
    except (OSError, BotoCoreError, ClientError) as error:
        raise SystemExit(f"{program}: {type(error).__name__}: {error}") from None
