"""Structured logs: readable in development, JSON elsewhere; Celery's lines have the same form.

Lines for people are those of `worker.log_lines`; at level DEBUG they have all fields.

Lines are written by `worker.log_stream`: a pipe without a reader, a closed pipe or a full disk
loses lines, which are counted, and never stops the worker.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Literal

import structlog

from worker.log_lines import ShortLines
from worker.log_stream import DROPPED_FIELD, LogStreamHandler

_FRAMES = 8


def configure(
    log_format: Literal["console", "json"], level: str | int, file: str | None = None
) -> None:
    """Send structlog's and the standard library's lines to a file, or to standard error.

    Raises:
        OSError: the file cannot be opened.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_exception_text,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = LogStreamHandler.of_file(file) if file else LogStreamHandler.of_stream(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.stdlib.ExtraAdder([DROPPED_FIELD]),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(log_format, level),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    _quieten()


def _renderer(
    log_format: Literal["console", "json"], level: str | int
) -> structlog.typing.Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    colours = sys.stderr.isatty()
    number = logging.getLevelNamesMapping().get(level, 0) if isinstance(level, str) else level
    if number <= logging.DEBUG:
        return structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=24)
    return ShortLines(colours=colours)


def _without_exception_text(
    _logger: Any, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace an exception by its class and traceback: its text may contain personal data."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        event["error"] = type(error).__name__
        event["traceback"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        # The code of an AWS error is AWS's own term, and tells more than the class.
        if code := getattr(error, "response", {}).get("Error", {}).get("Code"):
            event["aws_error"] = code
    return event


def _quieten() -> None:
    """Silence loggers that report per task or call what our own lines report per command.

    The SDK's debug lines contain whole requests, and so personal data; they stay off at any level.
    """
    for name in ("botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.pool", "celery.bootsteps"):
        logging.getLogger(name).setLevel(logging.WARNING)
