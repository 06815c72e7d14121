"""Mask private keys in texts that quote user input.

A user may put a key where a name or an id belongs. Logs, Events of the controller and errors of the embedded API are
masked, so that none of them repeats it.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

_ARMOUR = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_RUN = re.compile(r"[A-Za-z0-9+/_-]{33,}={0,2}")
"""Longer than an id of the ELB. A line of PEM has 64 characters."""


def masked(text: str) -> str:
    """Return `text` with private keys masked, whole or single lines, as PEM or base64."""
    return _RUN.sub(_unless_plain, _ARMOUR.sub(MASK, text))


def _unless_plain(run: re.Match[str]) -> str:
    """Mask a base64 run. It mixes both cases and digits; ids, digests and labels do not, except our own names."""
    text = run.group()
    if text.startswith("k8s_"):  # our names: names of Kubernetes objects, a protocol and a port
        return text
    mixed = all(re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return MASK if mixed else text
