"""The state that the ELB publishes to the data plane after each commit.

The store makes it and hands it on through ``Latest``; ``elb.xds`` is the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from certferry.core.model.elb import State
from certferry.core.x509.pem import PrivateKey


class Publication(msgspec.Struct, frozen=True, eq=False):
    """One state and the keys that it needs. Equal only to itself, so that comparing costs nothing."""

    state: State = State()
    keys: Mapping[str, PrivateKey] = MappingProxyType({})
    """Private keys by ``Chain.digest``."""
