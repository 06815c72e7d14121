"""The data plane's status as one value, for the API. Any thread may read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.envoy import Snapshot, TlsSecret
from certferry.core.envoy.listeners.sds import DEFAULT
from certferry.core.envoy.resource import LISTENERS, ROUTES, remembered
from certferry.core.model.elb import State
from certferry.elb.server.dataplane.xds.acks import AckLog, SlotStatus

ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
PENDING: Final = "pending"

SlotsElsewhere = Callable[[str], Mapping[str, Mapping[str, SlotStatus]]]

MemberKey = tuple[str, str, int]
"""Pool id, address, port."""


class SecretStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One content in one slot of a listener, and its state on the Envoys."""

    listener_id: str
    place: str
    """``default``, ``client-ca`` or a host name (one without a dot has a final dot)."""
    digest: str
    """``Chain.digest`` of the chain to serve."""
    state: str
    """accepted, rejected or pending."""
    since: datetime | None
    message: str = ""
    """Why it is rejected, in Envoy's words or ours, and by whom."""

    @property
    def slot(self) -> str:
        """``default`` or ``sni``."""
        return DEFAULT if self.place == DEFAULT else "sni"


class EnvoyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Envoy's state: ``running``, ``adopted``, ``restarting``, ``stopped``, ``missing`` or ``unusable``."""

    state: str
    pid: int | None = None
    restarts: int = 0
    sentence: str = ""

    @property
    def serves(self) -> bool:
        """True if Envoy runs."""
        return self.state in {"running", "adopted"}


class SecretStatuses:
    """The status of each secret of a snapshot, combined over Envoys. Computes only what a caller reads."""

    def __init__(
        self,
        resources: Snapshot | None = None,
        acks_by_envoy: Mapping[str, AckLog] | None = None,
        elsewhere: SlotsElsewhere = lambda _: {},
    ) -> None:
        """`elsewhere` returns the slots of a listener on the Envoys of other ELBs, by Envoy."""
        self._secrets = resources.secrets if resources else {}
        self._acks = acks_by_envoy or {}
        self._elsewhere = elsewhere

    def of_listener(self, listener_id: str) -> tuple[SecretStatus, ...]:
        """Return the statuses of a listener's slots, sorted by slot."""
        by_digest = _slots_by_listener("", self._secrets).get(listener_id, {})
        return self._statuses(listener_id, sorted(slot for slots in by_digest.values() for slot in slots))

    def of_chain(self, listener_id: str, digest: str) -> tuple[SecretStatus, ...]:
        """Return the statuses of the slots that have the content `digest` (``Chain.digest``)."""
        slots = _slots_by_listener("", self._secrets).get(listener_id, {}).get(digest, ())
        return self._statuses(listener_id, slots)

    def _statuses(self, listener_id: str, slots: Sequence[str]) -> tuple[SecretStatus, ...]:
        if not slots:
            return ()
        by_envoy: list[tuple[str, Mapping[str, SlotStatus]]] = [(n, acks.slots) for n, acks in self._acks.items()]
        by_envoy += self._elsewhere(listener_id).items()
        return tuple(
            _secret_status(
                listener_id,
                slot.split("/", 2)[1],
                self._secrets[slot].version,
                [(name, status) for name, present in by_envoy if (status := present.get(slot))],
            )
            for slot in slots
        )


@remembered  # many requests follow a change
def _slots_by_listener(_: str, secrets: Mapping[str, TlsSecret]) -> Mapping[str, Mapping[str, list[str]]]:
    """Return the sorted slots by listener and digest."""
    result: dict[str, dict[str, list[str]]] = {}
    for slot in sorted(secrets):
        result.setdefault(slot.partition("/")[0], {}).setdefault(secrets[slot].version, []).append(slot)
    return result


RouteVersions = Callable[[str], Mapping[str, str]]
"""Returns the versions of a listener's route table on Envoys at other ELBs, by Envoy; "" before the first."""


class RouteStatuses:
    """Tells which challenges the Envoys answer. Computes only what a caller reads."""

    def __init__(
        self,
        resources: Snapshot | None = None,
        state: State | None = None,
        acks_by_envoy: Mapping[str, AckLog] | None = None,
        elsewhere: RouteVersions | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._tables = resources.messages.get(ROUTES, {}) if resources else {}
        self._state = state or State()
        self._acks = acks_by_envoy or {}

    def answer(self, order_id: str, listener_ids: Iterable[str]) -> bool:
        """Return whether the challenges of an order are in the route tables, and every Envoy with one has it so."""
        return bool(self._state.challenges.get(order_id)) and all(map(self._accepted, listener_ids))

    def _accepted(self, listener_id: str) -> bool:
        table = self._tables.get(listener_id)
        held = {acks.route_versions.get(listener_id) for acks in self._acks.values()} - {None}
        if self._elsewhere is not None:
            held |= set(self._elsewhere(listener_id).values())
        return table is not None and held == {table.version}


class DataPlaneStatus(msgspec.Struct, frozen=True, eq=False):
    """The state of the data plane at one moment."""

    envoy: EnvoyStatus | None = None
    """The Envoy that this ELB supervises, if any."""
    connected: tuple[str, ...] = ()
    """Names of the Envoys that have a stream now; ours is ``local``."""
    secrets: SecretStatuses = SecretStatuses()
    routes: RouteStatuses = RouteStatuses()
    refusals: Mapping[str, str] = MappingProxyType({})
    """Why Envoy refused a listener or its routes, by listener id."""
    members: Mapping[MemberKey, bool] = MappingProxyType({})
    """True for a member that passes its health check; absent before the first check."""

    def troubles(self, listener_id: str) -> tuple[str, ...]:
        """Return the problems of a listener as sentences."""
        result = [self.refusals[listener_id]] if listener_id in self.refusals else []
        result += [f"{s.place}: {s.message}" for s in self.secrets.of_listener(listener_id) if s.state == REJECTED]
        return tuple(result)


Reporter = Callable[[], DataPlaneStatus]


def no_data_plane() -> DataPlaneStatus:
    """Return the report of an ELB without a data plane."""
    return DataPlaneStatus()


def refusals(by_envoy: Mapping[str, Mapping[tuple[str, str], str]]) -> dict[str, str]:
    """Return the Envoys' reasons for rejected listeners or route tables, by listener id."""
    result: dict[str, str] = {}
    for name, refused in by_envoy.items():
        for (kind, resource), why in refused.items():
            if kind in (LISTENERS, ROUTES):
                result.setdefault(resource, _by(name, why))
    return result


def _secret_status(listener_id: str, place: str, digest: str, told: Iterable[tuple[str, SlotStatus]]) -> SecretStatus:
    """Combine the Envoys' states: rejected by one is rejected, accepted means accepted by all."""
    state, since, message = PENDING, None, ""
    for name, status in told:
        current = status.digest == digest
        if current and status.error:
            state, since, message = REJECTED, status.since, _by(name, status.error)
            break
        if current and status.accepted == digest:
            if state == PENDING and not message:
                state, since = ACCEPTED, status.since
        else:
            state, since, message = PENDING, status.since, _by(name, "not answered yet")
    message = message if state == REJECTED else ""
    return SecretStatus(listener_id=listener_id, place=place, digest=digest, state=state, since=since, message=message)


def _by(name: str, why: str) -> str:
    return why if name == "local" else f"{name}: {why}"
