"""Configures logs on standard error: readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import structlog
from msgspec import Meta, Struct


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The section ``[log]``."""

    level: Annotated[
        str,
        Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."),
    ] = "info"
    format: Annotated[
        str,
        Meta(pattern="^(auto|console|json)$", description="console, json, or auto: console on a terminal."),
    ] = "auto"


def configure_logs(settings: LogSettings) -> None:
    """Configure structlog, and route warnings and errors of the standard library through it."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if as_json:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        # The default formatter reads source files, which would block the event loop.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        ),
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
