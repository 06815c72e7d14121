"""The net under every text that we write about what others gave us: key material in it is not repeated.

People put a key where a name or an id belongs. A sentence that quotes them would carry it into an
Event, a log or an answer. The log, the Events of the controller and the refusals of the embedded
API go through here. It knows how a key looks in PEM and in base64, and not whose text it is.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

_ARMOUR = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_RUN = re.compile(r"[A-Za-z0-9+/_-]{33,}={0,2}")
"""Longer than an id of the ELB. A row of PEM has 64."""


def masked(text: str) -> str:
    """`text` without private keys, whole or in rows, as PEM or in base64; the same text as a rule."""
    return _RUN.sub(_unless_plain, _ARMOUR.sub(MASK, text))


def _unless_plain(run: re.Match[str]) -> str:
    """Base64 mixes both cases and digits; ids, digests, names and labels do not, but for names that we give."""
    found = run.group()
    if found.startswith("k8s_"):  # then of Kubernetes' names, a protocol and a port
        return found
    mixed = all(re.search(kind, found) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return MASK if mixed else found


__all__ = ["MASK", "masked"]
