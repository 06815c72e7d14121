"""One cluster and its ELB together, as one person sees them: what pages ask.

A page gets a ``Desk`` for each request. What follows from the two worlds (translation, uses) is worked
out once per state and kept, so that a page of a long list costs what it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from certferry.clusters import ClusterAccess
from certferry.clusters.cluster import Role
from certferry.console.state.elb_feed import ElbFeed
from certferry.console.state.elb_sites import RANKS, ElbLogin
from certferry.console.state.kube_feed import KubeFeed
from certferry.console.state.probes import ProbeCache, targets
from certferry.core.diagnosis import usage
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.kube.client.client import KubeClient

K = TypeVar("K")
V = TypeVar("V")

WAIT: Final = 10.0
"""Seconds that a page waits for the first answer of a cluster or an ELB."""


class DerivedState(msgspec.Struct, frozen=True):
    """What follows from a cluster and an ELB at one moment."""

    view: ClusterView
    state: State
    translation: Translation
    uses: tuple[Use, ...]
    by_secret: Mapping[Name, tuple[Use, ...]]
    by_certificate: Mapping[str, tuple[Use, ...]]
    by_ingress: Mapping[Name, tuple[Use, ...]]
    referring: Mapping[Name, tuple[Name, ...]]
    """Ingresses that name a Secret in spec.tls, whatever comes of it."""
    problems: Mapping[tuple[str, Name], tuple[Problem, ...]]
    """By kind and name."""


class ClusterContext:
    """A cluster, its ELB, and who looks at them."""

    def __init__(
        self,
        cluster: ClusterAccess,
        login: ElbLogin,
        kube: KubeFeed,
        elb: ElbFeed,
        probes: ProbeCache,
        kept: dict[str, DerivedState],
    ) -> None:
        self.cluster, self.login, self.kube, self.elb, self.probes = cluster, login, kube, elb, probes
        self._kept = kept

    @property
    def name(self) -> str:
        """The cluster's."""
        return self.cluster.name

    @property
    def role(self) -> Role:
        """What the person may do here."""
        return self.login.role  # type: ignore[return-value]

    def may(self, role: str) -> bool:
        """Whether the person has `role` or more."""
        return RANKS[self.role] >= RANKS[role]

    @property
    def error(self) -> str | None:
        """Why what is shown may be old."""
        return self.kube.error or self.elb.error

    async def ready(self) -> bool:
        """Whether both worlds are known, after waiting a little for them."""
        return all(await asyncio.gather(self.kube.until_ready(WAIT), self.elb.until_ready(WAIT)))

    @property
    def options(self) -> TranslateOptions:
        """As the cluster's controller has them."""
        return TranslateOptions(
            class_name=self.cluster.class_name,
            cluster_name=self.cluster.name,
            default_loadbalancer=self.cluster.default_loadbalancer,
        )

    @property
    def derived(self) -> DerivedState:
        """What follows from what is known now."""
        view, state = self.kube.view, self.elb.state
        kept = self._kept.get(self.name)
        if kept is None or kept.view is not view or kept.state is not state:
            kept = self._kept[self.name] = derive(
                view, state, self.options, datetime.now(UTC), secrets=self.kube.reads_secrets
            )
        return kept

    def served(self, use: Use) -> bool | None:
        """Whether handshakes show it; None: not looked yet, and a look is on its way."""
        places = targets(use, self.elb.state)
        if use.chain is None:
            return None
        self.probes.request(places, use.chain)
        seen = [s for place in places if (s := self.probes.get(place))]
        if not seen:
            return None
        others = (
            {
                u.chain.fingerprint
                for u in self.derived.uses
                if u.listener == use.listener
                and u is not use
                and u.chain
                and not {*u.hosts}.isdisjoint(use.hosts)
            }
            if any(s.fingerprint != use.chain.fingerprint for s in seen)
            else set()
        )
        telling = [s for s in seen if s.fingerprint == use.chain.fingerprint or s.fingerprint not in others]
        return not any(s.objection(use.chain) for s in telling) if telling else None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[KubeClient]:
        """A client for changes: it says which person they are for, where the settings want that."""
        async with self.cluster.kube(self.role, impersonate=self.login.user) as client:
            yield client


def derive(
    view: ClusterView, state: State, options: TranslateOptions, now: datetime, *, secrets: bool = True
) -> DerivedState:
    """Everything that pages need of both worlds. `secrets`: whether the view may see them."""
    translation = translate(view, state, options, now)
    uses = usage.uses(view, state, options)
    referring: dict[Name, dict[Name, None]] = {}
    for name, ingress in sorted(view.ingresses.items()):
        for entry in ingress.tls:
            referring.setdefault(Name(name.namespace, entry.secret), {})[name] = None
    return DerivedState(
        view=view,
        state=state,
        translation=translation,
        uses=uses,
        by_secret=_grouped((u.secret, u) for u in uses if u.secret),
        by_certificate=_grouped((u.certificate, u) for u in uses),
        by_ingress=_grouped((name, u) for u in uses for name in u.ingresses),
        referring={secret: tuple(names) for secret, names in referring.items()},
        problems=_grouped(
            ((p.object.kind, Name(p.object.namespace, p.object.name)), p)
            for p in translation.problems
            if secrets or p.reason != "SecretNotFound"
        ),
    )


def _grouped(pairs: Iterable[tuple[K, V]]) -> Mapping[K, tuple[V, ...]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}
