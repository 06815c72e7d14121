"""What the store hands to the data plane after each committed write.

The store makes it, xDS reads it. The state holds no key; the keys stand beside it by the digest of
their chain, and only the encoder of secrets joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from certferry.core.model import State
from certferry.core.pem import PrivateKey


@dataclass(frozen=True, eq=False, slots=True)
class Publication:
    """One committed state. Compared by identity: each commit is news."""

    state: State = field(default_factory=State)
    keys: Mapping[str, PrivateKey] = field(default_factory=lambda: MappingProxyType({}), repr=False)
