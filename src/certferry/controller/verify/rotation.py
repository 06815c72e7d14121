"""Verification of rotations: from accepted by the ELB to served to clients.

Each address and name that ought to serve a changed certificate is probed, with RSA and ECDSA if both exist. A finished
rotation is passed on with its three instants. A certificate that clients cannot use is reported at once, which
triggers the rollback. Nothing is written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain as chained
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.controller.verify.data_plane_rejection import DataPlaneRejection
from certferry.controller.verify.rollback_trigger import RollbackTrigger
from certferry.core.diagnosis.host_state import HostProbe, KeyKind
from certferry.core.model.elb import State, bind_port
from certferry.core.model.kubernetes import Name, ObjectRef
from certferry.core.translate.translate import Translation
from certferry.core.x509.pem import Chain
from certferry.runtime.latest import Latest
from certferry.runtime.metrics import Metrics
from certferry.runtime.prober import Prober
from certferry.runtime.tls_probe import (
    HandshakeFailed,
    ProbeResult,
    Served,
    Target,
    Unreachable,
    WrongCertificate,
    WrongChain,
)

_KEY_KINDS: Final[Mapping[str, KeyKind]] = {"": "", "RSA": "RSA", "EC": "ECDSA"}


class ExpectedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a certificate is seen, and whose Ingress it is."""

    target: Target
    ingress: ObjectRef
    certificate: str
    """Id or key."""
    chain: Chain
    """The chain that clients should get there."""
    brought: bool
    """True if the Ingress names the certificate; False if its hosts get another Ingress's certificate."""


class RotationResult(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate's way: changed at the source, accepted by the ELB, served (None: it is not)."""

    chain: Chain
    expected: tuple[ExpectedCertificate, ...]
    changed: float
    accepted: float
    served: float | None = None
    error: str | None = None
    """The endpoint that does not serve it, and the reason; None if all do."""
    before: Mapping[Target, str] = MappingProxyType({})
    """The leaf that each place was really seen to show before, where that is what it should have shown."""
    not_served: tuple[tuple[ExpectedCertificate, ProbeResult], ...] = ()
    """Endpoints that did not serve it, with the last probe result."""

    @property
    def fingerprint(self) -> str:
        """Of its leaf."""
        return self.chain.fingerprint

    @property
    def ingresses(self) -> list[ObjectRef]:
        """The Ingresses that name the certificate, sorted."""
        return sorted({expected.ingress for expected in self.expected if expected.brought})


Finished = Callable[[RotationResult], None]
Refused = Callable[[RotationResult, str], None]
"""Called if clients cannot use the new certificate, with the reason."""


def expected_certificates(translation: Translation, observed: State) -> dict[Target, ExpectedCertificate]:
    """Return the expected certificate of each address, port, host and key kind."""
    expected: dict[Target, ExpectedCertificate] = {}
    brought = _brought(translation)
    by_name = {b.name: b for b in observed.loadbalancers.values()}
    for name in sorted(translation.status):
        status = translation.status[name]
        for served in status.served:
            asked = translation.desired.loadbalancers.get(served.loadbalancer)
            balancer = observed.loadbalancers.get(served.loadbalancer) or (by_name.get(asked.name) if asked else None)
            if balancer is None or not balancer.vip_address:
                continue
            target = Target(
                address=balancer.vip_address, port=bind_port(balancer, served.port), host=served.host, kind=served.kind
            )
            own = (name, served.certificate) in brought
            if target not in expected or (own and not expected[target].brought):
                expected[target] = ExpectedCertificate(
                    target=target, ingress=status.ref, certificate=served.certificate, chain=served.chain, brought=own
                )
    return expected


def _brought(translation: Translation) -> set[tuple[Name, str]]:
    """Return each Ingress with the id or key of each certificate that it names."""
    by_secret = {
        Name(c.source.namespace, c.source.secret): key
        for key, c in translation.desired.certificates.items()
        if c.source is not None
    }
    result: set[tuple[Name, str]] = set()
    for claim in chained.from_iterable(translation.claims.values()):
        ingress = claim.ingress.meta.key
        result |= {(ingress, ref) for ref in claim.values.tls_certificate_ids or ()}
        secrets = (Name(ingress.namespace, entry.secret) for entry in claim.ingress.tls if entry.secret)
        result |= {(ingress, by_secret[secret]) for secret in secrets if secret in by_secret}
    return result


class RotationVerifier:
    """Expected certificates, and the probes in flight."""

    def __init__(
        self,
        metrics: Metrics,
        finished: Finished,
        refused: Refused,
        deadline: float,
        rollback_within: float,
        rejection: DataPlaneRejection,
    ) -> None:
        self._metrics = metrics
        self._finished = finished
        self._refused = refused
        self.deadline = deadline
        """Seconds that a change may take until clients see it."""
        self._rollback_within = rollback_within
        self._rejection = rejection
        self._expected: Mapping[Target, ExpectedCertificate] = {}
        self._by_certificate: dict[str, list[ExpectedCertificate]] = {}
        self._seen: dict[Target, str] = {}
        self._probes: dict[Target, HostProbe] = {}
        self._ahead: set[Target] = set()
        """Targets whose expected content is newer than the last reconcile."""
        self.probed: Latest[int] = Latest(0)
        """Changes of `probes` that concern a content of the last reconcile."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._prober = Prober()

    def verify_changes(self, expected: Mapping[Target, ExpectedCertificate], changed: float, accepted: float) -> None:
        """Probe what is expected after a reconcile and was not before."""
        before = self._replace_expected(expected)
        news = [s for t, s in expected.items() if _content(before.get(t)) != s.chain.digest]
        by_content: dict[str, list[ExpectedCertificate]] = {}
        for expectation in news:
            by_content.setdefault(expectation.chain.digest, []).append(expectation)
        for group in by_content.values():
            self._start(group[0].chain, group, before, changed, accepted)

    def set_baseline(self, expected: Mapping[Target, ExpectedCertificate]) -> None:
        """Take what is expected after a reconcile without changes. Nothing is probed."""
        self._replace_expected(expected)

    def verify_rotation(self, certificate: str, chain: Chain, changed: float, accepted: float) -> None:
        """Probe the new content of `certificate` (its key) wherever it is expected, after the fast path."""
        group = [
            msgspec.structs.replace(expectation, chain=chain)
            for expectation in self._by_certificate.get(certificate, ())
        ]
        if group:
            before = {expectation.target: self._expected[expectation.target] for expectation in group}
            self._by_certificate[certificate] = group
            self._ahead.update(before)
            self._expected = {**self._expected, **{expectation.target: expectation for expectation in group}}
            self._start(chain, group, before, changed, accepted)

    @property
    def expected(self) -> Mapping[Target, ExpectedCertificate]:
        """The expected certificate of each address, port, host and key kind now."""
        return self._expected

    def expects(self, target: Target, chain: Chain) -> bool:
        """Return whether `chain` is expected there now."""
        expectation = self._expected.get(target)
        return expectation is not None and expectation.chain.digest == chain.digest

    @property
    def probes(self) -> tuple[HostProbe, ...]:
        """The last result of each target."""
        return tuple(self._probes.values())

    async def probe(self, expected: ExpectedCertificate) -> ProbeResult:
        """Probe once, and record the certificate if it is served."""
        result = await self._prober.probe(expected.target, expected.chain)
        if isinstance(result, Served):
            self.record(expected.target, expected.chain, result)
        return result

    def record(self, target: Target, chain: Chain, result: ProbeResult) -> None:
        """Record the final result of probes for `chain`; a served leaf is what a later rotation is compared to."""
        if isinstance(result, Served):
            self._seen[target] = chain.fingerprint
        if not self.expects(target, chain):
            return
        probe = _as_host_probe(target, chain, result)
        before, self._probes[target] = self._probes.get(target), probe
        news = before is None or msgspec.structs.replace(before, at=probe.at) != probe
        if news and target not in self._ahead:  # else the next reconcile reports it
            self.probed.set(self.probed.value + 1)

    async def stop(self) -> None:
        """End the probes under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _replace_expected(self, expected: Mapping[Target, ExpectedCertificate]) -> Mapping[Target, ExpectedCertificate]:
        before, self._expected = self._expected, expected
        self._ahead.clear()
        self._seen = {t: f for t, f in self._seen.items() if t in expected}
        self._probes = {t: p for t, p in self._probes.items() if t in expected}
        self._by_certificate = {}
        for expectation in expected.values():
            self._by_certificate.setdefault(expectation.certificate, []).append(expectation)
        return before

    def _start(
        self,
        chain: Chain,
        group: list[ExpectedCertificate],
        before: Mapping[Target, ExpectedCertificate],
        changed: float,
        accepted: float,
    ) -> None:
        self._metrics.rotation.labels("accepted").observe(max(0.0, accepted - changed))
        rotation = RotationResult(
            chain=chain,
            expected=tuple(group),
            changed=changed,
            accepted=accepted,
            before={
                s.target: seen
                for s in group
                if (seen := self._seen.get(s.target)) and seen == _leaf(before.get(s.target))
            },
        )
        task = asyncio.get_running_loop().create_task(self._prove(rotation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prove(self, rotation: RotationResult) -> None:
        trigger = RollbackTrigger(rotation.before, self._rollback_within)

        async def one(expectation: ExpectedCertificate) -> ProbeResult:
            return await self._look(expectation.target, rotation.chain, lambda s: observe(expectation.target, s))

        def observe(target: Target, result: ProbeResult) -> None:
            if trigger.observe(target, result) and self.expects(target, rotation.chain):
                self._refused(rotation, f"{target} {_seen(result)}")

        ordered = _spread(rotation.expected)
        watch = asyncio.create_task(self._watch_data_plane(rotation))
        try:
            results = await asyncio.gather(*map(one, ordered))
        finally:
            watch.cancel()
        not_served = [(t, s) for t, s in zip(ordered, results, strict=True) if not isinstance(s, Served)]
        if any(not self.expects(expectation.target, rotation.chain) for expectation, _ in not_served):
            return  # a newer one took its place meanwhile; that rotation tells the rest
        if not_served:
            self._metrics.rotations.labels(
                "unreachable" if isinstance(not_served[0][1], Unreachable) else "wrong"
            ).inc()
            self._finished(msgspec.structs.replace(rotation, error=_trouble(not_served), not_served=tuple(not_served)))
            return
        served = max(s.at for s in results if isinstance(s, Served))
        self._metrics.rotation.labels("served").observe(max(0.0, served - rotation.changed))
        self._metrics.rotations.labels("served").inc()
        self._finished(msgspec.structs.replace(rotation, served=served))

    async def _watch_data_plane(self, rotation: RotationResult) -> None:
        """Refuse the rotation as soon as the data plane rejects it."""
        for certificate in sorted({e.certificate for e in rotation.expected}):
            why = await self._rejection.wait(certificate, rotation.fingerprint, self.deadline)
            if why and self._rollback_within:
                self._refused(rotation, f"the data plane rejects it: {why}")

    async def _look(self, target: Target, chain: Chain, seen: Callable[[ProbeResult], None]) -> ProbeResult:
        result = await self._prober.wait_until_served(
            target, chain, self.deadline, lambda: self.expects(target, chain), seen
        )
        self.record(target, chain, result)
        return result


def _as_host_probe(target: Target, chain: Chain, result: ProbeResult) -> HostProbe:
    probe = HostProbe(
        address=target.address,
        port=target.port,
        sni=target.host,
        key_kind=_KEY_KINDS[target.kind],
        at=datetime.now(UTC),
        expected=chain.digest,
    )
    match result:
        case Served():
            return msgspec.structs.replace(probe, chain=chain)
        case WrongCertificate():
            return msgspec.structs.replace(probe, fingerprint=result.fingerprint)
        case WrongChain():
            error = f"the leaf is right, but {result.why}"
            return msgspec.structs.replace(probe, fingerprint=chain.fingerprint, error=error)
        case HandshakeFailed() | Unreachable():
            reached = isinstance(result, HandshakeFailed)
            return msgspec.structs.replace(probe, error=result.why, reached=reached)


def _spread(certificates: Iterable[ExpectedCertificate]) -> list[ExpectedCertificate]:
    """Order the expected certificates: one host per address and port first."""
    ordered = sorted(
        {expected.target: expected for expected in certificates}.values(), key=lambda expected: expected.target
    )
    first = {(s.target.address, s.target.port): s for s in reversed(ordered)}
    return [*first.values(), *(s for s in ordered if s not in first.values())]


def _content(expected: ExpectedCertificate | None) -> str | None:
    return expected.chain.digest if expected else None


def _leaf(expected: ExpectedCertificate | None) -> str | None:
    return expected.chain.fingerprint if expected else None


def _trouble(not_served: Sequence[tuple[ExpectedCertificate, ProbeResult]]) -> str:
    expectation, result = not_served[0]
    more = f", and {len(not_served) - 1} more" if len(not_served) > 1 else ""
    return f"{expectation.target} {_seen(result)}{more}"


def _seen(result: ProbeResult) -> str:
    match result:
        case Unreachable():
            return f"cannot be reached: {result.why}"
        case HandshakeFailed():
            return f"was reached, but {result.why}"
        case WrongChain():
            return f"shows the right certificate, but {result.why}"
        case _:
            return "still shows another certificate"
