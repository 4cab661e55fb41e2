"""Structured log lines: one JSON object a line on stderr, for those who collect logs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("recordmill")


class JsonLines(logging.Formatter):
    """A record as JSON: time, level, logger, message, and the fields that `tell` was given."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        value = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return json.dumps(value, ensure_ascii=False)


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is stderr at the time of writing."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def use_json() -> None:
    """From now on, all log records of this process become JSON lines, Beam's too."""
    root = logging.getLogger()
    root.handlers = [_Stderr()]
    LOGGER.setLevel(logging.INFO)


def is_json() -> bool:
    """Whether log lines are JSON."""
    return any(isinstance(handler, _Stderr) for handler in logging.getLogger().handlers)


def tell(message: str, **fields: Any) -> None:
    """Logs an event where log lines are JSON; else says nothing."""
    if is_json():
        LOGGER.info(message, extra={"fields": fields})
