"""Logs of the server programs: one JSON object a line on standard error.

As a last net, PEM blocks and text that looks like key material are masked in every record.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

from certferry.core.redaction import masked

_PEM: Final = re.compile(r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|$)", re.DOTALL)


class _Stderr:
    """Standard error, on which a line that cannot be written is lost: a full disk must not end a program."""

    def write(self, text: str) -> None:
        """Write `text`."""
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush what was written."""
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure(program: str) -> None:
    """Set up structlog and the standard library's logging for `program`; call once."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s", force=True)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, _stamp],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _without_pem,
            structlog.processors.JSONRenderer(),
        ],
    )
    logging.getLogger().handlers[0].setFormatter(formatter)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            _without_pem,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program)


_stamp: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _without_pem(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        key: _plain(key, _PEM.sub("[PEM]", value)) if isinstance(value, str) else value for key, value in event.items()
    }


def _plain(key: str, text: str) -> str:
    # Tracebacks contain long paths, which look like base64.
    return text if key == "exception" else masked(text)
