"""What the ELB has, as far as we know: the last observation, with what we wrote since on top.

``loop`` observes, ``apply`` and ``fast`` write. An observation that began before a write must not
undo it, or the write would be made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec.structs import replace

from certferry.core.certificates import Ours, ours
from certferry.core.model import Certificate, State


class World:
    """The observed state; ``state`` is None until the ELB was read once."""

    def __init__(self) -> None:
        self.state: State | None = None
        self._writes = 0
        self._written: dict[str, tuple[int, Certificate]] = {}
        self._ours: tuple[State, str, Ours] | None = None
        self._turns: dict[str, asyncio.Lock] = {}

    def turn(self, secret_uid: str) -> asyncio.Lock:
        """One writer at a time for the certificate of a Secret, in the order of asking."""
        return self._turns.setdefault(secret_uid, asyncio.Lock())

    def begin(self) -> int:
        """To be called before an observation, and handed to ``observed``."""
        return self._writes

    def observed(self, state: State, begun: int) -> None:
        """Take an observation; certificates that we wrote meanwhile stay as written."""
        newer = {ref: c for ref, (at, c) in self._written.items() if at > begun}
        self._written = {ref: w for ref, w in self._written.items() if w[0] > begun}
        if newer:
            state = replace(state, certificates=_sorted({**state.certificates, **newer}))
        self.state = state

    def wrote(self, certificate: Certificate) -> None:
        """The ELB answered a write of ours with `certificate`."""
        self._writes += 1
        self._written[certificate.id] = (self._writes, certificate)
        if self.state is not None:
            certificates = {**self.state.certificates, certificate.id: certificate}
            self.state = replace(self.state, certificates=_sorted(certificates))

    def ours(self, cluster_id: str) -> Ours:
        """Our certificates, looked up once per state."""
        state = self.state or State()
        if self._ours is None or self._ours[0] is not state or self._ours[1] != cluster_id:
            self._ours = (state, cluster_id, ours(state, cluster_id))
        return self._ours[2]


def _sorted(certificates: Mapping[str, Certificate]) -> Mapping[str, Certificate]:
    return {ref: certificates[ref] for ref in sorted(certificates)}
