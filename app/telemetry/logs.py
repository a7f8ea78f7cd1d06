"""Structured logs: one line per state change, the call's context on each, no secret and no full number."""

import logging
import sys
from typing import Literal

import structlog

_NOISY = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "anthropic", "openai"),
    *("websockets", "uvicorn", "uvicorn.error", "asyncio"),
)
"""Loggers of libraries that tell of every request, with its address, or, when debugging, with all that was said."""


def configure(level: str, style: Literal["console", "json"]) -> None:
    """Set up structlog for the process; uvicorn's and libraries' records take the same road."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ]
            if style == "json"
            else [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    handler.addFilter(_tells_news)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _tells_news(record: logging.LogRecord) -> bool:
    """False for what uvicorn says of every upgrade that is refused with a text: the refusal is on record already."""
    return "without completing handshake" not in record.getMessage()


def masked(number: str) -> str:
    """A telephone number as logs may show it: its last two digits."""
    return number if len(number) < 5 else f"…{number[-2:]}"
