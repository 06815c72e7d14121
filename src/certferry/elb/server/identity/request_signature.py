"""Verification of requests signed with an access key (SDK-HMAC-SHA256; elb-v3-api.md 9.2)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from certferry.elb.signing import ALGORITHM, DATE_FORMAT, authorization, canonical_request

SKEW: Final = timedelta(minutes=15)
"""How far a signature's date may be from our clock, either way."""


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """The signed parts of a request: `headers` with names in lower case, `path` and `query` as received."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an Authorization header."""

    access_key: str
    signed: tuple[str, ...]
    header: str


class BadSignature(Exception):
    """The reason to reject a signature."""


def claim_of(header: str) -> Claim:
    """Parse an Authorization header. Raises BadSignature."""
    algorithm, _, rest = header.partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if algorithm != ALGORITHM or not parts.keys() >= {"Access", "SignedHeaders", "Signature"}:
        raise BadSignature(f"The Authorization header is no {ALGORITHM} signature")
    signed = tuple(parts["SignedHeaders"].lower().split(";"))
    return Claim(access_key=parts["Access"], signed=signed, header=header)


def verify(claim: Claim, request: Presented, secret_key: str, now: datetime) -> None:
    """Raise ``BadSignature`` unless `secret_key` signed `request`, within ``SKEW`` of `now`."""
    if not {"host", "x-sdk-date"} <= set(claim.signed) or not set(claim.signed) <= request.headers.keys():
        raise BadSignature("The signature must cover Host and X-Sdk-Date, and headers that were sent")
    signed_at = _date(request.headers["x-sdk-date"])
    if abs(now - signed_at) > SKEW:
        raise BadSignature("The signature's date is more than 15 minutes from the server's clock")
    declared = request.headers.get("x-sdk-content-sha256")
    if declared is not None and declared != hashlib.sha256(request.body).hexdigest():
        raise BadSignature("X-Sdk-Content-Sha256 is not the hash of the body")
    covered = {name: request.headers[name] for name in claim.signed}
    query = parse_qsl(request.query, keep_blank_values=True)
    canonical = canonical_request(request.method, request.path, query, covered, request.body)
    expected = authorization(claim.access_key, secret_key, canonical, covered, signed_at)
    if not hmac.compare_digest(_signature(expected), _signature(claim.header)):
        raise BadSignature("The signature does not match: wrong secret key, or a request changed on its way")


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise BadSignature("X-Sdk-Date is no date of the form 20260131T235959Z") from None


def _signature(header: str) -> bytes:
    return header.rpartition("Signature=")[2].encode()
