"""Times of orders: when a certificate is renewed, and when a failed attempt is repeated. Pure.

Jitter is a share that derives from the certificate, so that the same inputs give the same instant.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509

from certferry.core.x509.pem import Chain
from certferry.runtime.backoff import delay_after

SHORT: Final = timedelta(days=10)
"""Lifetimes below it are renewed at half of it, longer ones at two thirds."""
_JITTER: Final = 0.03
"""Largest share of the lifetime by which a renewal is earlier than that."""
_FIRST, _LONGEST = 300.0, 86_400.0
"""Seconds until an attempt that failed is repeated."""
_TROUBLE_FIRST, _TROUBLE_LONGEST = 5.0, 900.0
"""Seconds until a request that the CA did not answer is repeated."""
MOST_PATIENT: Final = timedelta(days=7)
"""Longest Retry-After that is honoured; Let's Encrypt's longest limit is a week."""
ATTEMPT: Final = timedelta(hours=2)
"""Longest attempt."""
ARI_DEFAULT: Final = timedelta(hours=6)
_ARI_SHORTEST, _ARI_LONGEST = timedelta(minutes=1), timedelta(days=1)


class Window(NamedTuple):
    """The CA's suggestion when to renew (RFC 9773)."""

    start: datetime
    end: datetime


class Renewal(NamedTuple):
    """The instant of a renewal, and the reason for it."""

    at: datetime
    reason: str


def renewal(chain: Chain, window: Window | None) -> Renewal:
    """Return when to renew `chain`: within the CA's window if that begins in time, else after a share of its life."""
    share = _share(chain.fingerprint)
    if window is not None and window.start <= window.end and window.start < chain.not_after:
        at = window.start + (window.end - window.start) * share
        return Renewal(at, f"the CA suggests {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC")
    life = chain.not_after - chain.not_before
    part, words = (0.5, "half") if life < SHORT else (2 / 3, "two thirds")
    return Renewal(chain.not_before + life * (part - _JITTER * share), f"{words} of its life")


def ari_identifier(pem: str) -> str | None:
    """Return the identifier of a certificate for renewalInfo and ``replaces`` (RFC 9773, 4.1); None if it has none."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    try:
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return None
    if key is None:
        return None
    serial = certificate.serial_number
    # One bit more than its length, because DER has a sign bit.
    return f"{_base64url(key)}.{_base64url(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def next_look(now: datetime, retry_after: timedelta | None) -> datetime:
    """Return when to read renewalInfo again."""
    wait = ARI_DEFAULT if retry_after is None else retry_after
    return now + min(max(wait, _ARI_SHORTEST), _ARI_LONGEST)


def after_failure(now: datetime, failures: int, retry_after: timedelta | None) -> datetime:
    """Return when to repeat an attempt after `failures` (from 1) in a row; the CA's Retry-After counts if longer."""
    delay = timedelta(seconds=delay_after(failures, _FIRST, _LONGEST))
    return now + max(delay, min(retry_after or timedelta(0), MOST_PATIENT))


def after_trouble(now: datetime, troubles: int, retry_after: timedelta | None) -> datetime:
    """Return when to repeat a request after `troubles` (from 1) in a row without an answer."""
    delay = timedelta(seconds=delay_after(troubles, _TROUBLE_FIRST, _TROUBLE_LONGEST))
    return now + max(delay, min(retry_after or timedelta(0), MOST_PATIENT))


def _share(text: str) -> float:
    """Return a number from 0 to 1 that derives from `text`."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
