"""Logs as one JSON object per line, with the id of the request that caused them."""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")
"""Terminals obey some of these, and some viewers end a line at them; JSON need not escape them."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """One record, one line; whatever a message holds, line ends and a terminal's orders included, is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(line).decode())


def configuration(level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "service.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {"faiss.loader": {"level": "WARNING"}},  # it tells of every build it did not find
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }
