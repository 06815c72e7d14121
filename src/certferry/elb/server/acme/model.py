"""Issuers and orders as values, and their form in the store.

An order is a standing one: it lasts as long as its certificate is to be renewed. Its state is that of the present
attempt, and each change of it is one transaction, so that a killed process continues where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.store.tables import Row

ACCOUNT: Final = "account"
"""The secret of an issuer that is its account key (PEM)."""
EAB: Final = "eab"
"""The secret of an issuer that is the HMAC key of its external account binding (base64url)."""
KEY: Final = "key"
"""The secret of an order that is the key of the certificate under way (PEM)."""

Challenge = Literal["http-01", "dns-01"]
KeyType = Literal["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
OrderState = Literal["waiting", "placed", "presented", "validating", "finalizing"]


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """A CA and our account there."""

    name: str
    directory: str
    """URL of the CA's ACME directory."""
    email: str = ""
    profile: str = ""
    key_type: KeyType = "P-256"
    challenge: Challenge = "http-01"
    eab_kid: str = ""
    ca_certificates: str = ""
    """Roots (PEM) of the directory's own certificate; empty: the system's."""
    account: str = ""
    """URL of the account; empty until it is registered."""


class ChallengeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one challenge."""

    host: str
    """The name to validate, without ``*.``."""
    token: str
    answer: str
    """The key authorization (HTTP-01), or the value of the TXT record (DNS-01)."""
    authorization: str
    """URL of the authorization."""
    url: str
    """URL of the challenge."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A standing order and its present attempt."""

    name: str
    """The names as one text."""
    names: tuple[str, ...]
    """Sorted."""
    names_key: str
    issuer_id: str
    certificate_id: str | None = None
    """The certificate that receives the content; None: one is created."""
    profile: str = ""
    key_type: KeyType = "P-256"
    challenge: Challenge = "http-01"
    state: OrderState = "waiting"
    next_at: datetime | None = None
    """When the attempt begins (in state waiting), or is tried again."""
    reason: str = ""
    """Why it begins then."""
    started_at: datetime | None = None
    """Begin of the attempt under way."""
    failures: int = 0
    """Attempts that failed since the last success."""
    troubles: int = 0
    """Requests in a row that the CA did not answer."""
    error: str = ""
    """Why the last attempt or request failed, in the CA's words."""
    url: str = ""
    """The attempt's URL at the CA."""
    challenges: tuple[ChallengeAnswer, ...] = ()
    listener_ids: tuple[str, ...] = ()
    """The listeners that answer the challenges (HTTP-01)."""


class OrderRow(NamedTuple):
    """A stored order and its issuer."""

    row: Row
    order: Order
    issuer_row: Row
    issuer: Issuer


def names_key(names: Iterable[str]) -> str:
    """Return the identity of a set of names: SHA-256, hex."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def order_of(row: Row) -> Order:
    """Return the order in a row."""
    return msgspec.convert(row.data, Order)


def issuer_of(row: Row) -> Issuer:
    """Return the issuer in a row."""
    return msgspec.convert(row.data, Issuer)


def data_of(value: Order | Issuer) -> dict[str, Any]:
    """Return the form in the store."""
    data: dict[str, Any] = msgspec.to_builtins(value)
    return data


class Delivery(NamedTuple):
    """An issued certificate and its key."""

    pem: str
    key: PrivateKey
