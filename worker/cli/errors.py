"""The errors of the command line are those of the worker's start."""

from worker.errors import CliError, ExitCode, UsageError

__all__ = ["CliError", "ExitCode", "UsageError"]
