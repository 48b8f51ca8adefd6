"""Structured logs on standard error: JSON lines, or coloured lines on a terminal. No local variables in tracebacks: they may be secrets."""

import logging
import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor


def configure_logging(role: str, level: str, process: int = 0) -> None:
    """Sends structlog's and the standard library's records to standard error.

    Args:
        role: `serve`, `worker` or `up`; a field of every line.
        level: `debug`, `info`, `warning` or `error`.
        process: the number of this process among several of the role; a field of every line unless it is 0.
    """
    structlog.contextvars.bind_contextvars(role=role, **({"process": process} if process else {}))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    finish: list[Processor]
    if sys.stderr.isatty():
        finish = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        finish = [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # At debug these write request headers and bodies.
    for noisy in ("urllib3", "requests", "asyncio", "acme", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
