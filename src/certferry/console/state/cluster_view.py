"""One cluster and its ELB, as one user may see them.

Everything derived from both (translation, uses, problems) is computed once per state and cached in the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from certferry.clusters import ClusterAccess
from certferry.clusters.cluster import Role
from certferry.clusters.translate_options import cluster_options
from certferry.console.state.elb_feed import ElbFeed
from certferry.console.state.elb_sites import RANKS, ElbLogin
from certferry.console.state.kube_feed import KubeFeed
from certferry.console.state.probes import ProbeCache
from certferry.console.web.errors import FormErrors
from certferry.core.diagnosis import usage
from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.host_probes import with_probes
from certferry.core.diagnosis.host_state import HostState, HostStatus
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation
from certferry.core.x509.expiry import Limits
from certferry.kube.client.client import Kind, KubeClient, KubeError

Place = tuple[str, int, str]
"""Address, port and SNI name."""
K = TypeVar("K")
V = TypeVar("V")

WAIT: Final = 10.0
"""Seconds that a page waits until a cluster and its ELB are read."""


FRESH: Final = timedelta(minutes=1)
"""Age after which derived values are computed again, because certificates expire."""


class DerivedState(msgspec.Struct, frozen=True):
    """Values derived from one view of a cluster and one state of its ELB."""

    at: datetime
    view: ClusterView
    state: State
    translation: Translation
    uses: tuple[Use, ...]
    by_secret: Mapping[Name, tuple[Use, ...]]
    by_certificate: Mapping[str, tuple[Use, ...]]
    by_ingress: Mapping[Name, tuple[Use, ...]]
    referring: Mapping[Name, tuple[Name, ...]]
    """Ingresses that name a Secret in spec.tls, used or not."""
    hosts: tuple[HostState, ...]
    """Without probes: ``ClusterContext.hosts`` has them."""
    by_place: Mapping[Place, tuple[HostState, ...]]
    hosts_by_ingress: Mapping[Name, tuple[HostState, ...]]
    hosts_by_secret: Mapping[Name, tuple[HostState, ...]]
    """The hosts that want a Secret, and those whose clients get its certificate."""
    hosts_by_certificate: Mapping[str, tuple[HostState, ...]]
    """The hosts whose clients get an ELB certificate, by its id."""
    hosts_by_listener: Mapping[str, tuple[HostState, ...]]
    problems: Mapping[tuple[str, Name], tuple[Problem, ...]]
    """By kind and name of the object."""


class DerivedCache:
    """The last derived state of one cluster for one session, and its hosts with their last handshakes."""

    def __init__(self) -> None:
        self.derived: DerivedState | None = None
        self.hosts: tuple[HostState, ...] = ()
        self.hosts_of: tuple[DerivedState | None, int] = None, -1
        """The derived state and the sequence of the probes that `hosts` were made of."""
        self.summary: tuple[tuple[HostState, ...], Any] | None = None


class ClusterContext:
    """A cluster, its ELB, and the user's login."""

    def __init__(
        self,
        access: ClusterAccess,
        login: ElbLogin,
        kube: KubeFeed,
        elb: ElbFeed,
        probes: ProbeCache,
        cache: DerivedCache,
    ) -> None:
        self.access, self.login, self.kube, self.elb, self.probes = access, login, kube, elb, probes
        self._cache = cache

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.access.name

    @property
    def role(self) -> Role:
        """The user's role."""
        return self.login.role  # type: ignore[return-value]

    def may(self, role: str) -> bool:
        """Return whether the user has `role` or a higher one."""
        return RANKS[self.role] >= RANKS[role]

    @property
    def error(self) -> str | None:
        """The reason that the page may be out of date; None if it is current."""
        return self.kube.error or self.elb.error

    async def ready(self, seconds: float = WAIT) -> bool:
        """Wait up to `seconds` until cluster and ELB are read; return whether they are."""
        return all(await asyncio.gather(self.kube.until_ready(seconds), self.elb.until_ready(seconds)))

    @property
    def options(self) -> TranslateOptions:
        """The options of the cluster's controller."""
        return cluster_options(self.access)

    @property
    def derived(self) -> DerivedState:
        """Values derived from the newest view and state."""
        view, state = self.kube.view, self.elb.state
        derived, now = self._cache.derived, datetime.now(UTC)
        if derived is None or derived.view is not view or derived.state is not state or now - derived.at > FRESH:
            derived = self._cache.derived = derive(
                view, state, self.options, self.access.limits, now, secrets=self.kube.reads_secrets
            )
        return derived

    @property
    def hosts(self) -> tuple[HostState, ...]:
        """The state of every host with the console's last handshake; none is requested."""
        derived, seen = self.derived, self.probes.changed.value
        if self._cache.hosts_of[0] is not derived or self._cache.hosts_of[1] != seen:
            results = self.probes.results(derived.hosts)
            self._cache.hosts = with_probes(derived.hosts, results, derived.view, derived.at)
            self._cache.hosts_of = derived, seen
        return self._cache.hosts

    def summary(self, of: Callable[[tuple[HostState, ...]], V]) -> V:
        """Return `of` the hosts, once for each state of them. Every caller gives the same function."""
        hosts = self.hosts
        if self._cache.summary is None or self._cache.summary[0] is not hosts:
            self._cache.summary = hosts, of(hosts)
        result: V = self._cache.summary[1]
        return result

    def probed(self, states: Iterable[HostState], most: int | None = None) -> tuple[HostState, ...]:
        """Return `states` with the console's last handshakes, and request those that are not recent.

        `most`: request no more than this number for each certificate of a listener; None for all.
        """
        wanted = tuple(states)
        # a handshake shows one of a host's key kinds: it needs the states of both
        derived, places = self.derived, dict.fromkeys(map(_place, wanted))
        both = tuple(state for place in places for state in derived.by_place.get(place, ()))
        self.probes.request(both if most is None else _sample(both, most))
        shown = with_probes(both, self.probes.results(both), derived.view, datetime.now(UTC))
        by_key = {state.key: state for state in shown}
        return tuple(by_key.get(state.key, state) for state in wanted)

    async def merge(self, kind: Kind, name: Name, patch: dict[str, Any], version: str) -> None:
        """Merge `patch` into an object. Raises ``FormErrors`` if it has changed since `version`, and ``KubeError``."""
        if version:
            patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}}
        try:
            async with self.writing() as kube:
                await kube.merge(kind, name.name, patch, name.namespace)
        except KubeError as error:
            if error.status != 409:
                raise
            sentence = f"This {kind.name} was changed in the meantime. Close this dialog and open it again."
            raise FormErrors({"": sentence}, 409) from None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[KubeClient]:
        """Open a client for changes; it impersonates the user if the settings ask for that."""
        async with self.access.kube(self.role, impersonate=self.login.user) as client:
            yield client


def derive(
    view: ClusterView, state: State, options: TranslateOptions, limits: Limits, now: datetime, *, secrets: bool = True
) -> DerivedState:
    """Derive all values that pages need. `secrets`: whether `view` contains Secrets."""
    current = diagnose(view, state, options, now, limits, check=usage.uses)
    translation, uses, hosts = current.translation, usage.uses(current), current.states
    if not secrets:
        hosts = tuple(map(_without_secret, hosts))
    return DerivedState(
        at=now,
        view=view,
        state=state,
        translation=translation,
        uses=uses,
        by_secret=_grouped((u.secret, u) for u in uses if u.secret),
        by_certificate=_grouped((u.certificate, u) for u in uses),
        by_ingress=_grouped((name, u) for u in uses for name in u.ingresses),
        referring=_grouped(_references(view)),
        hosts=hosts,
        by_place=_grouped((_place(host), host) for host in hosts),
        hosts_by_ingress=_grouped((name, host) for host in hosts for name in host.claims),
        hosts_by_secret=_grouped((name, host) for host in hosts for name in _secrets(host)),
        hosts_by_certificate=_grouped((host.bound.certificate_id, host) for host in hosts if host.bound),
        hosts_by_listener=_grouped((host.listener_id, host) for host in hosts if host.listener_id),
        problems=_grouped(
            ((p.object.kind, Name(p.object.namespace, p.object.name)), p)
            for p in translation.problems
            if secrets or p.reason != "SecretNotFound"
        ),
    )


def _references(view: ClusterView) -> Iterator[tuple[Name, Name]]:
    """Yield each Secret with each Ingress that names it, once."""
    for name, ingress in sorted(view.ingresses.items()):
        for secret in dict.fromkeys(entry.secret for entry in ingress.tls):
            yield Name(name.namespace, secret), name


def _without_secret(host: HostState) -> HostState:
    """Return the state of a host for a reader, who sees no Secret: what is bound counts, not what is wanted."""
    if host.wanted is None or host.wanted.reason != "SecretNotFound":
        return host
    status: HostStatus = host.status
    if host.bound and status == "missing":
        status = {"expired": "expired", "good": "served"}.get(host.expiry_state or "", "expiring")  # type: ignore[assignment]
    sentence = host.sentence.removesuffix(f" {host.wanted.sentence}")
    return msgspec.structs.replace(host, wanted=None, other_wants=(), problems=(), status=status, sentence=sentence)


def _place(host: HostState) -> Place:
    return host.key.address, host.key.port, host.host


def _sample(states: Iterable[HostState], most: int) -> Iterable[HostState]:
    """Yield the first `most` hosts of each certificate of a listener."""
    counts: dict[tuple[str, str], int] = {}
    for state in states:
        place = state.listener_id, state.bound.certificate_id if state.bound else ""
        counts[place] = counts.get(place, 0) + 1
        if counts[place] <= most:
            yield state


def _secrets(host: HostState) -> tuple[Name, ...]:
    sources = (*(w.source for w in host.wants), *((host.bound.source,) if host.bound else ()))
    return tuple(dict.fromkeys(source.secret for source in sources if source.secret and not source.cluster))


def _grouped(pairs: Iterable[tuple[K, V]]) -> Mapping[K, tuple[V, ...]]:
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}
