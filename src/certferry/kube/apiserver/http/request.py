"""Requests and responses without sockets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from certferry.kube.apiserver.apply.managed_fields import Writer
from certferry.kube.apiserver.auth.auth import User
from certferry.kube.apiserver.errors import (
    FieldError,
    bad_request,
    forbidden_field,
    invalid,
    required,
    too_long,
    unprocessable,
)
from certferry.kube.apiserver.http.codec import APPLY, VALIDATIONS
from certferry.kube.apiserver.resources.builtin import ResourceDefinition
from certferry.kube.apiserver.storage.log import Stored

_MANAGER = 128


class Request(msgspec.Struct, frozen=True):
    """The parts of a request on which the response depends."""

    method: str
    path: str
    query: Mapping[str, str]
    user: User
    accept: str = ""
    media: str = ""
    """Content-Type without parameters."""
    body: bytes = b""
    host: str = ""
    user_agent: str = ""
    """Names the field manager of a request without ``fieldManager``."""

    def writer(self, now: datetime, subresource: str) -> Writer:
        """Return the field manager. Raises ``ApiStatus``."""
        value = self.query.get("fieldManager", "")
        applies = self.media == APPLY and self.method == "PATCH"
        faults = [too_long("fieldManager", _MANAGER)] if len(value) > _MANAGER else []
        faults += [
            invalid("fieldManager", value, f"invalid character U+{ord(c):04X} (at position {n})")
            for n, c in enumerate(value)
            if not c.isprintable()
        ]
        if applies and not value:
            faults.append(required("fieldManager", "is required for apply patch"))
        if self.method == "PATCH" and not applies and "force" in self.query:
            faults.append(forbidden_field("force", "may not be specified for non-apply patch"))
        if faults:
            options = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(self.method, "PatchOptions")
            raise unprocessable("meta.k8s.io", options, "", faults)
        agent = "".join(c for c in self.user_agent.partition("/")[0] if c.isprintable())
        return Writer(value or agent[:_MANAGER], now.strftime("%Y-%m-%dT%H:%M:%SZ"), subresource)

    def flag(self, name: str) -> bool:
        """Return a boolean of the query, in Go's or Python's notation."""
        value = self.query.get(name, "")
        return value.lower() in ("1", "t", "true") or (value == "" and name in self.query)

    @property
    def dry_run(self) -> bool:
        """Return whether nothing may be stored (``dryRun=All``). Raises ``ApiStatus`` for other values."""
        value = self.query.get("dryRun", "")
        if value not in ("", "All"):
            text = f'Unsupported value: "{value}": supported values: "All"'
            raise unprocessable("", "", "", [FieldError("dryRun", "FieldValueNotSupported", text)])
        return bool(value)

    @property
    def validation(self) -> str:
        """Return ``fieldValidation``; the default is Warn. Raises ``ApiStatus`` for unknown values."""
        value = self.query.get("fieldValidation") or "Warn"
        if value not in VALIDATIONS:
            raise bad_request(
                f'fieldValidation: Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
            )
        return value


class Response(msgspec.Struct, frozen=True):
    """A complete response."""

    body: bytes = b""
    code: int = 200
    media: str = "application/json"
    warnings: tuple[str, ...] = ()
    parts: Sequence[bytes] = ()
    """The body in parts instead of `body`, so that a long list is never assembled in memory."""


class Target(msgspec.Struct, frozen=True):
    """The resource that a path names."""

    kind: ResourceDefinition
    namespace: str = ""
    name: str = ""
    subresource: str = ""


_DIGITS = 19
"""Digits of the largest 64-bit number."""


def parse_count(text: str, name: str) -> int:
    """Parse a non-negative number of the query; 0 if absent. Raises ``ApiStatus``."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise bad_request(f'{name}: Invalid value: "{text[:40]}": must be a number')
    return int(text)


def encode_continue(revision: int, last: Stored) -> str:
    """Encode the position of a list's next page."""
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, last.namespace, last.name])).decode()


def decode_continue(token: str) -> tuple[int, tuple[str, str]]:
    """Return the first page's revision and the last object's key. Raises ``ApiStatus``."""
    try:
        revision, namespace, name = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[int, str, str])
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise bad_request("continue key is not valid: it is no token of this server") from None
    return revision, (namespace, name)
