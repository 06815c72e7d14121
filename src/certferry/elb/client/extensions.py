"""Client of our ELB's extensions: versions, rollback, status, break-glass, audit.

The CLI, the console and the controller call these with an ``ElbClient``. A vendor's ELB has none of
them: ``available`` says so first. Private keys are in none of the answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from certferry.core.model.elb import BreakGlass, Certificate, PauseKind
from certferry.elb.client import wire
from certferry.elb.client.client import ElbClient, ElbError
from certferry.elb.client.wire import CertificateWire

T = TypeVar("T")
PAGE: Final = 500
COMPROMISED_KEYS: Final = "compromised-keys"
"""The name of this extension, and its path."""
_REMEMBERED: Final = 60.0
"""Seconds; an upgrade of the ELB changes the answer."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One content that a certificate has or had."""

    number: int
    current: bool
    fingerprint: str
    """SHA-256 of the leaf, hex."""
    digest: str
    """SHA-256 of the whole chain, hex."""
    not_before: datetime
    not_after: datetime
    domains: tuple[str, ...]
    spki: str = ""
    """SHA-256 of the leaf's public key, hex; "" if the ELB does not tell."""
    compromised: bool = False
    """True if its key is marked as compromised: it is not served again."""
    created_at: datetime
    user: str
    via: str
    """How it came: create, put, rollback, break-glass, rollback-pause."""
    request_id: str


class BoundSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a certificate is to be served."""

    listener_id: str
    loadbalancer_id: str
    slot: str = msgspec.field(name="seat")
    """default or sni. The name on the wire is that of version 0.1, so that either side can be upgraded first."""
    state: str
    """accepted, rejected (``message`` says why) or pending."""
    since: datetime | None = None
    message: str = ""


class ElbFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding of a check."""

    reason: str
    severity: str
    sentence: str


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a bulk call. ``@KEY`` in a path or a reference is the object that the item KEY creates."""

    method: str
    path: str
    key: str = ""
    body: Any = None


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """The ELB's answer to one item."""

    status: int
    id: str = ""
    body: dict[str, msgspec.Raw] = {}
    error_code: str = ""
    error_msg: str = ""

    @property
    def certificate(self) -> Certificate | None:
        """The certificate that was written; None for another object."""
        raw = self.body.get("certificate")
        return None if raw is None else wire.certificate(_decoded(raw, CertificateWire))


class CertificateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The listeners that serve a certificate, and its findings."""

    certificate_id: str
    fingerprint: str
    listeners: tuple[BoundSlot, ...] = ()
    findings: tuple[ElbFinding, ...] = ()
    break_glass: BreakGlass | None = None
    quarantined: Any = None


class CompromisedKey(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of a compromised key."""

    spki: str
    """SHA-256 of the public key, hex."""
    reason: str
    user: str
    marked_at: datetime


class ReplacedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with a compromised key, and the earlier version that replaced it; None if none could."""

    id: str
    name: str = ""
    version: int | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit log."""

    sequence: int
    at: datetime
    user: str
    role: str
    verb: str
    """create, update, delete, rollback, break-glass, break-glass-end, rollback-pause, rollback-pause-end, release,
    compromised, compromised-end."""
    kind: str
    resource_id: str
    name: str
    fingerprint: str | None = None
    previous_fingerprint: str | None = None
    request_id: str = ""
    reason: str | None = None


class Gap(Exception):
    """The stream does not continue where we were: read the state anew, then follow from ``sequence``."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"The ELB's events do not continue; the newest is {sequence}")
        self.sequence = sequence


async def available(elb: ElbClient) -> frozenset[str]:
    """Return the names of this ELB's extensions; a vendor's ELB has none. An answer is remembered for a minute."""
    at, names = elb.offered
    if names is None or time.monotonic() - at > _REMEMBERED:
        names = await _available(elb)
        elb.offered = time.monotonic(), names
    return names


async def _available(elb: ElbClient) -> frozenset[str]:
    try:
        answer = await elb.extension("GET", "")
    except ElbError as error:
        if error.status in (400, 403, 404, 405):
            return frozenset()
        raise
    try:
        return frozenset(part(answer, "certferry", _Available).extensions)
    except ElbError:
        return frozenset()


async def write_bulk(elb: ElbClient, items: Sequence[BulkItem]) -> list[BulkResult]:
    """Write many objects in one transaction; an item that the ELB rejects fails alone. Raises ElbError."""
    body = msgspec.json.encode({"items": items, "atomic": False})
    return part(await elb.extension("POST", "bulk", body=body), "items", list[BulkResult])


async def versions(elb: ElbClient, certificate_id: str) -> list[Version]:
    """Return the kept contents of a certificate, newest first."""
    return part(await elb.extension("GET", _of(certificate_id, "versions")), "versions", list[Version])


async def roll_back(elb: ElbClient, certificate_id: str, version: int | None = None, reason: str = "") -> Certificate:
    """Serve an earlier content again (None: the one before). ``ElbError`` 409 where that is not possible."""
    body: dict[str, Any] = {"reason": reason} | ({} if version is None else {"version": version})
    answer = await elb.extension("POST", _of(certificate_id, "rollback"), body=msgspec.json.encode(body))
    return wire.certificate(part(answer, "certificate", CertificateWire))


async def status(elb: ElbClient, certificate_id: str) -> CertificateStatus:
    """Return the slots of a certificate, its findings and the data plane's state."""
    return part(await elb.extension("GET", _of(certificate_id, "status")), "status", CertificateStatus)


async def open_break_glass(
    elb: ElbClient, certificate_id: str, reason: str, until: datetime, kind: PauseKind = "break-glass"
) -> BreakGlass:
    """Let admins replace the content of an owned certificate until then. For admins."""
    body = msgspec.json.encode({"kind": kind, "reason": reason, "until": _instant(until)})
    answer = await elb.extension("POST", _of(certificate_id, "break-glass"), body=body)
    return part(answer, "break_glass", BreakGlass)


async def close_break_glass(elb: ElbClient, certificate_id: str) -> None:
    """End it now: the owner decides again."""
    await elb.extension("DELETE", _of(certificate_id, "break-glass"))


async def release(elb: ElbClient, certificate_id: str, reason: str = "") -> Certificate:
    """Take the owner from a certificate. For admins, and for the owner itself."""
    answer = await elb.extension("POST", _of(certificate_id, "release"), body=msgspec.json.encode({"reason": reason}))
    return wire.certificate(part(answer, "certificate", CertificateWire))


async def compromised_keys(elb: ElbClient) -> list[CompromisedKey]:
    """Return the marks of compromised keys, oldest first."""
    return part(await elb.extension("GET", COMPROMISED_KEYS), "compromised_keys", list[CompromisedKey])


async def mark_compromised(
    elb: ElbClient, reason: str, *, spki: str = "", certificate_id: str = ""
) -> tuple[CompromisedKey, list[ReplacedCertificate]]:
    """Mark a public key, or that of a certificate; return the mark and the certificates that had the key."""
    body = {"reason": reason} | ({"spki": spki} if spki else {"certificate_id": certificate_id})
    answer = await elb.extension("POST", COMPROMISED_KEYS, body=msgspec.json.encode(body))
    return (part(answer, "compromised_key", CompromisedKey), part(answer, "certificates", list[ReplacedCertificate]))


async def unmark_compromised(elb: ElbClient, spki: str, reason: str = "") -> None:
    """Remove the mark of a public key. For admins."""
    await elb.extension("DELETE", f"{COMPROMISED_KEYS}/{quote(spki, safe='')}", [("reason", reason)] if reason else [])


async def audit(
    elb: ElbClient, *, certificate: str | None = None, host: str | None = None, since: datetime | int | None = None
) -> AsyncGenerator[Record, None]:
    """Return audit records, oldest first. `since`: an instant, or the sequence after which to begin."""
    query = [("limit", str(PAGE))]
    query += [("certificate_id", certificate)] if certificate else []
    query += [("host", host)] if host else []
    if since is not None:
        query += [("since", str(since) if isinstance(since, int) else _instant(since))]
    marker: list[tuple[str, str]] = []
    while True:
        answer = await elb.extension("GET", "audit", [*query, *marker])
        for record in part(answer, "records", list[Record]):
            yield record
        following = part(answer, "next", object)
        if following is None:
            return
        marker = [("marker", str(following))]


async def events(elb: ElbClient, since: int | None = None) -> AsyncGenerator[Record | None, None]:
    """Changes as they happen, after `since` (None: from now on), until the connection ends.

    A stream without `since` begins at the first None; read the state then, because earlier changes are not sent.

    Raises ``Gap`` where the ELB cannot continue there, ``ElbError`` when it does not answer. Resume with
    the sequence of the last record.
    """
    event = "message"
    query = [] if since is None else [("since", str(since))]
    async for line in elb.extension_lines("events", query):
        field, _, value = line.decode().rstrip("\r\n").partition(":")
        match field:
            case "" if since is None and value.strip() == "connected":
                yield None
            case "event":
                event = value.strip()
            case "data" if event == "change":
                yield _decoded(value.encode(), Record)
            case "data" if event == "gap":
                raise Gap(_decoded(value.encode(), _Newest).sequence)


class _Available(msgspec.Struct, frozen=True):
    extensions: tuple[str, ...] = ()


class _Newest(msgspec.Struct, frozen=True):
    sequence: int


def _of(certificate_id: str, what: str) -> str:
    return f"certificates/{quote(certificate_id, safe='')}/{what}"


def part(answer: bytes, field: str, kind: type[T]) -> T:
    """Return a field of an answer. Raises ElbError if it cannot be read."""
    try:
        return _decoded(msgspec.json.decode(answer, type=dict[str, msgspec.Raw])[field], kind)
    except (msgspec.DecodeError, KeyError):
        raise ElbError(0, "BadAnswer", f"the answer holds no readable “{field}”") from None


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:
        raise ElbError(0, "BadAnswer", "an answer of the ELB cannot be read") from None


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
