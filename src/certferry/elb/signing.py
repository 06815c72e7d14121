"""Signing a request to the ELB with an access key (SDK-HMAC-SHA256).

Source: the signing scheme of the vendor's SDK cores (``huaweicloudsdkcore.signer``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

ALGORITHM: Final = "SDK-HMAC-SHA256"
DATE_FORMAT: Final = "%Y%m%dT%H%M%SZ"

Query = Iterable[tuple[str, str]]


def query_string(query: Query) -> str:
    """Encode the query as it is signed and sent: sorted by key, then value, reserved characters escaped."""
    return "&".join(f"{_encoded(key)}={_encoded(value)}" for key, value in sorted(query))


def canonical_request(method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes) -> str:
    """Build the text whose hash is signed. `headers`: exactly the signed ones, names in lower case."""
    segments = "/".join(_encoded(segment) for segment in unquote(path).split("/"))
    lines = [
        method.upper(),
        segments if segments.endswith("/") else segments + "/",
        query_string(query),
        *(f"{name}:{headers[name].strip()}" for name in sorted(headers)),
        "",
        ";".join(sorted(headers)),
        hashlib.sha256(body).hexdigest(),
    ]
    return "\n".join(lines)


def authorization(access_key: str, secret_key: str, canonical: str, headers: Mapping[str, str], now: datetime) -> str:
    """Build the Authorization header of a request whose ``X-Sdk-Date`` is `now` (UTC)."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{now.strftime(DATE_FORMAT)}\n{digest}"
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={';'.join(sorted(headers))}, Signature={signature}"


def _encoded(text: str) -> str:
    return quote(text, safe="~")
