"""The age of an Ingress, which decides who owns listeners and hosts, kept over its re-creation from a backup.

The annotation holds the instant and a signature over it, namespace and name. So a user can restore an age, and can
neither invent one nor give it to another Ingress.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from certferry.core.model.kubernetes import AGE_ANNOTATION, Ingress, Name


def claimed_since(ingress: Ingress, key: bytes) -> str:
    """Return the value of the annotation for the age that `ingress` has."""
    instant = ingress.meta.created.isoformat()
    return f"{instant} {_signature(key, ingress.meta.key, instant)}"


def restored(ingress: Ingress, obj: Mapping[str, Any], key: bytes | None) -> Ingress:
    """Return `ingress` with the age in its annotation, if that is older than the object `obj` and the signature is good.

    `key`: None to trust the annotation, for a reader without the key; the controller removes a forged one.
    """
    text = (obj["metadata"].get("annotations") or {}).get(AGE_ANNOTATION)
    if not isinstance(text, str):
        return ingress
    instant, _, signature = text.partition(" ")
    if key is not None and not hmac.compare_digest(_signature(key, ingress.meta.key, instant), signature):
        return ingress
    try:
        created = datetime.fromisoformat(instant)
        older = created < ingress.meta.created
    except (ValueError, TypeError):
        return ingress
    return replace(ingress, meta=replace(ingress.meta, created=created)) if older else ingress


def _signature(key: bytes, name: Name, instant: str) -> str:
    signed = "\0".join((name.namespace, name.name, instant))
    return hmac.new(key, signed.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]
