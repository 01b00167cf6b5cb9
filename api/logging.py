"""Log as text for people or as JSON by the Elastic Common Schema, never what is personal.

What identifies a person is kept out in three ways: values that a request registers by :func:`hide` are
blanked wherever they turn up while it runs; patterns of identifiers are blanked everywhere; and an
exception shows its type and where it was raised, its words only where they are RuleWard's own.
"""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import ecs_logging

from engine.errors import RuleWardError

__all__ = ["MODES", "Private", "Traced", "configuration", "hide", "trace_id"]

MODES: Final = ("text", "json")
"""What RULEWARD_LOG may say."""

_BLANK: Final = "[hidden]"
_SHORTEST: Final = 2  # a single character would blank half of every line
_TRACE: ContextVar[str] = ContextVar("trace", default="")
_HIDDEN: ContextVar[set[str] | None] = ContextVar("hidden", default=None)
_PATTERNS: Final = tuple(
    (re.compile(pattern), blank)
    for pattern, blank in (
        (r"(?<![0-9A-Za-z])\d{17}[0-9Xx](?![0-9A-Za-z])", _BLANK),  # GB 11643 citizen number
        (r"(?<![0-9A-Za-z])(?:\+?86[- ]?)?1[3-9]\d{9}(?![0-9A-Za-z])", _BLANK),  # mobile telephone
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", _BLANK),
        (r"(?<=\?)[^\s\"'<>]*=[^\s\"'<>]*", _BLANK),  # the query of a URL
        (r"(?<=\bPatient/)[^\s/?\"'<>]+", _BLANK),
        (r"(?i)(?<=\bBearer )[\w.~+/=-]+", _BLANK),
    )
)
_OWN: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "_private"})
_PLAIN: Final = (int, float, bool, type(None))


def configuration(mode: str, level: str = "INFO") -> dict[str, Any]:
    """Return the configuration of a process's logs for ``logging.config.dictConfig`` and for uvicorn.

    ``ValueError`` for a mode that there is not.
    """
    if mode not in MODES:
        raise ValueError(f"RULEWARD_LOG: {mode} is neither {' nor '.join(MODES)}.")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"private": {"()": "api.logging.Private"}},
        "formatters": {
            "text": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"},
            "json": {
                "()": ecs_logging.StdlibFormatter,
                "extra": {"service.name": "ruleward"},
                "exclude_fields": ["log.original", "process.thread.id"],
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": mode, "filters": ["private"]}},
        "root": {"handlers": ["stderr"], "level": level},
        # One line a migration or request says nothing that the decision log and the metrics do not.
        "loggers": {"alembic": {"level": "WARNING"}, "httpx": {"level": "WARNING"}},
    }


def hide(*values: str) -> None:
    """Blank these values in whatever is logged until the running request ends: names, ids, numbers."""
    hidden = _HIDDEN.get()
    if hidden is not None:
        hidden.update(value for value in values if len(value) >= _SHORTEST)


def trace_id() -> str:
    """Return the id of the running request, empty outside of one."""
    return _TRACE.get()


class Private(logging.Filter):
    """Blank what is personal in a record, and add which request it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place; never drop it."""
        if getattr(record, "_private", False):
            return True
        record._private = True
        record.msg, record.args = self._message(record), ()
        if record.exc_info:
            self._exception(record)
        if record.stack_info:
            record.stack_info = _scrubbed(record.stack_info)
        fields = record.__dict__
        fields.setdefault("event.action", f"{record.name}.{record.funcName}")
        if trace := _TRACE.get():
            fields.setdefault("trace.id", trace)
        for name in fields.keys() - _OWN:  # what the caller gave as ``extra``
            fields[name] = _field(fields[name])
        return True

    def _message(self, record: logging.LogRecord) -> str:
        arguments = record.args
        if isinstance(arguments, tuple):
            record.args = tuple(_argument(one) for one in arguments)
        elif arguments:
            record.args = {name: _argument(one) for name, one in arguments.items()}
        template = record.msg if isinstance(record.msg, str) else str(_argument(record.msg))
        record.msg = template
        try:
            return _scrubbed(record.getMessage())
        except (TypeError, ValueError):  # the words do not fit the arguments: a fault of ours, but log it
            return _scrubbed(template)

    def _exception(self, record: logging.LogRecord) -> None:
        kind, error, trace = record.exc_info if isinstance(record.exc_info, tuple) else (None, None, None)
        record.exc_info = None
        if kind is None or error is None:
            return
        words = (
            f"{kind.__name__}: {_scrubbed(str(error))}" if isinstance(error, RuleWardError) else kind.__name__
        )
        record.exc_text = f"{''.join(traceback.format_tb(trace))}{words}"
        record.__dict__["error.type"] = kind.__name__
        record.__dict__["error.stack_trace"] = record.exc_text


def _argument(value: object) -> object:
    """Return what a line may show of a value: numbers, words, our own errors; of all else its type."""
    match value:
        case str():
            return value
        case _ if isinstance(value, _PLAIN):
            return value
        case RuleWardError() | OSError():
            return str(value)
        case type():
            return value.__name__
        case BaseException() | bytes() | bytearray() | dict() | list() | tuple() | set() | frozenset():
            return f"<{type(value).__name__}>"
        case _ if type(value).__module__ in {"pathlib", "datetime", "enum", "decimal", "uuid"}:
            return str(value)
        case _:
            return f"<{type(value).__name__}>"


def _field(value: object) -> object:
    if isinstance(value, dict):
        return {name: _field(one) for name, one in value.items()}
    shown = _argument(value)
    return _scrubbed(shown) if isinstance(shown, str) else shown


def _scrubbed(text: str) -> str:
    for value in sorted(_HIDDEN.get() or (), key=len, reverse=True):
        text = text.replace(value, _BLANK)
    for pattern, blank in _PATTERNS:
        text = pattern.sub(blank, text)
    return text


_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Traced:
    """Give each request its trace id (W3C Trace Context, or a new one) and its own list of hidden values."""

    def __init__(self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Run the application within the request's own context."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        found = _TRACEPARENT.fullmatch(stated)
        trace = _TRACE.set(found[1].decode() if found else secrets.token_hex(16))
        hidden = _HIDDEN.set(set())
        try:
            await self.app(scope, receive, send)
        finally:
            _HIDDEN.reset(hidden)
            _TRACE.reset(trace)
