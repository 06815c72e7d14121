"""One Envoy's ADS stream: what to send next. Used by ``elb.xds``.

Secrets go first and at once, so that a rotation never waits for a large listener. The rest goes in
the order in which nothing is used before it is there: clusters, endpoints, listeners, routes, and
the removal of clusters at the very end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import count, islice
from typing import Any, Final

import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, Resource

from certferry.core.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, Snapshot, TlsSecret, XdsResource
from certferry.core.model.elb import State
from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.dataplane.xds.acks import AckLog
from certferry.elb.server.dataplane.xds.encode import Encoder, secret
from certferry.elb.server.dataplane.xds.fallback import SlotContent
from certferry.elb.server.dataplane.xds.subscription import Answer, Subscription
from certferry.runtime.latest import Latest

_SLICE: Final = 0.004
"""Seconds of encoding between two looks at what else there is to do."""
_BATCH: Final = {CLUSTERS: 100, ENDPOINTS: 100, LISTENERS: 1, ROUTES: 1, SECRETS: 50}
"""Resources in one response. One bad listener or table spoils its response, so each has its own."""
_RETRY: Final = 5.0
"""Seconds until a refused listener is tried again: its port may have become free."""


class StreamSnapshot(msgspec.Struct, frozen=True, eq=False):
    """The resources for one Envoy, and the private keys to them."""

    resources: Snapshot
    keys: Mapping[str, PrivateKey]
    state: State = State()
    """The ELB state from which `resources` was computed."""

    def of(self, kind: str) -> Mapping[str, XdsResource]:
        """Resources of a type other than secrets, by name."""
        return self.resources.messages[kind]


class Stream:
    """The state of one stream. `receive` takes what comes, `responses` says what goes."""

    def __init__(self, snapshots: Latest[StreamSnapshot], encoder: Encoder, acks: AckLog) -> None:
        self._snapshots = snapshots
        self._encoder = encoder
        self._acks = acks
        self._subscriptions: dict[str, Subscription] = {}
        self._wake = asyncio.Event()
        self._nonces = count(1)
        self._alone: set[tuple[str, str]] = set()
        self._filled: set[str] = set()
        """Slots in which Envoy has a content."""
        self._offered: dict[tuple[str, str], SlotContent] = {}
        """Contents without an answer yet, by slot and digest."""
        self._ended = False
        self._preparing: asyncio.Task[None] | None = None

    async def receive(self, requests: AsyncIterator[Any]) -> None:
        """Take requests and answers until the stream ends."""
        async for request in requests:
            if request.type_url == SECRETS:
                # Envoy subscribes again because it no longer has the resource.
                self._filled.difference_update(request.resource_names_subscribe)
                self._filled.update(request.initial_resource_versions)
                self._reported(request.initial_resource_versions)
            if request.type_url == ROUTES and request.initial_resource_versions:
                self._acks.route_versions.update(request.initial_resource_versions)
            subscription = self._subscriptions.setdefault(request.type_url, Subscription())
            if (answer := subscription.request(request)) is not None:
                self._take(request.type_url, answer)
            self._wake.set()

    def _reported(self, versions: Mapping[str, str]) -> None:
        if not versions:
            return
        self._acks.reported(versions)
        for slot, held in self._snapshots.value.resources.secrets.items():
            if versions.get(slot) == held.version:
                self._acks.already_has(slot, held.chain.fingerprint)
                content = SlotContent(held, self._snapshots.value.keys.get(held.chain.digest))
                self._acks.fallbacks.accepted(slot, content)

    def end(self, _: object = None) -> None:
        """End the stream: stop sending."""
        self._ended = True
        self._wake.set()

    async def responses(self) -> AsyncIterator[Any]:
        """Yield responses as they become due, until the other side ends the stream."""
        try:
            with self._snapshots.on_change(self._wake.set):
                while not self._ended:
                    self._wake.clear()
                    while not self._ended and (response := self._next(self._snapshots.value)) is not None:
                        yield response
                    if not self._ended:
                        await self._wake.wait()
        finally:
            if self._preparing is not None:
                self._preparing.cancel()

    def _next(self, snapshot: StreamSnapshot) -> Any | None:
        return self._secrets(snapshot) or self._ordered(snapshot)

    # Secrets

    def _secrets(self, snapshot: StreamSnapshot) -> Any | None:
        subscription = self._subscriptions.get(SECRETS)
        if subscription is None:
            return None
        resources: list[Resource] = []
        gone = subscription.gone(snapshot.resources.secrets)
        for name in subscription.changed(snapshot.resources.secrets):
            content = self._content(snapshot, name)
            held = content.secret
            fallback = None if name in self._filled else self._acks.fallbacks.instead_of(name, held.version)
            if fallback is not None:
                if subscription.under_way[name]:
                    continue  # until Envoy has the fallback, nothing else may fill the slot
                content, held = fallback, fallback.secret
            elif problem := _mismatch(content):
                self._withhold(name, held, problem)
                # Envoy keeps the secret in this slot; if it has none, a removal keeps it from waiting.
                gone += [name] if name in subscription.unanswered else []
                continue
            alone = (SECRETS, name) in self._alone
            if alone and resources:
                continue
            self._alone.discard((SECRETS, name))
            self._acks.sent(name, held.version, held.chain.fingerprint)
            self._offered[name, held.version] = content
            resources.append(secret(held, content.key, self._acks.retries(name, held.version)))
            if alone or len(resources) == _BATCH[SECRETS]:
                break
        self._filled.difference_update(gone)
        for name in gone:
            if name not in snapshot.resources.secrets:
                self._acks.removed(name)
        return self._respond(SECRETS, resources, gone)

    def _content(self, snapshot: StreamSnapshot, name: str) -> SlotContent:
        held = snapshot.resources.secrets[name]
        return SlotContent(held, snapshot.keys.get(held.chain.digest))

    def _withhold(self, name: str, held: TlsSecret, problem: str) -> None:
        status = self._acks.slots.get(name)
        if status is None or (status.digest, status.error) != (held.version, problem):
            self._acks.sent(name, held.version)
            self._acks.refused(name, held.version, problem)

    # Everything else

    def _ordered(self, snapshot: StreamSnapshot) -> Any | None:
        for kind in (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES):
            subscription = self._subscriptions.get(kind)
            if subscription is None:
                continue
            resources = snapshot.of(kind)
            ready = (name for name in subscription.changed(resources) if not subscription.under_way[name])
            batch = list(islice(ready, _BATCH[kind]))
            if lone := next((name for name in batch if (kind, name) in self._alone), ""):
                self._alone.discard((kind, lone))
                batch = [lone]
            # Clusters are removed last; Envoy drops endpoints and route tables with their users.
            gone = subscription.gone(resources) if kind == LISTENERS else []
            if not (batch or gone or subscription.owes_greeting()):
                continue
            if kind in (LISTENERS, ROUTES) and self._backends_pending(snapshot):
                return None
            if not self._prepared(kind, [resources[n] for n in batch]):
                return None
            return self._reply(kind, resources, batch, gone)
        return self._unused_clusters(snapshot)

    def _reply(
        self, kind: str, resources: Mapping[str, XdsResource], names: Sequence[str], gone: Sequence[str]
    ) -> Any | None:
        if kind == CLUSTERS and (assigned := self._subscriptions.get(ENDPOINTS)) is not None:
            # A changed cluster waits for its endpoints, and Envoy does not ask for those again.
            assigned.again(names)
        encoded = [self._encoder.resource(kind, name, resources[name]) for name in names]
        for name in gone:
            self._acks.refusals.pop((kind, name), None)
        return self._respond(kind, encoded, gone, greeting=True)

    def _backends_pending(self, snapshot: StreamSnapshot) -> bool:
        """Return True while clusters or endpoints are in flight, because routes to them would answer 503."""
        clusters, assigned = self._subscriptions.get(CLUSTERS), self._subscriptions.get(ENDPOINTS)
        if clusters is None:
            return False
        if clusters.flight or clusters.changed(snapshot.of(CLUSTERS)):
            return True
        if assigned is not None and (assigned.flight or assigned.changed(snapshot.of(ENDPOINTS))):
            return True
        unassigned = clusters.known.keys() - (assigned.names if assigned is not None else ())
        return any(n in snapshot.of(CLUSTERS) and (CLUSTERS, n) not in self._acks.refusals for n in unassigned)

    def _unused_clusters(self, snapshot: StreamSnapshot) -> Any | None:
        clusters = self._subscriptions.get(CLUSTERS)
        if clusters is None or any(
            s.flight for k in (LISTENERS, ROUTES) if (s := self._subscriptions.get(k)) is not None
        ):
            return None
        gone = clusters.gone(snapshot.of(CLUSTERS))
        for name in gone:
            self._acks.refusals.pop((CLUSTERS, name), None)
        return self._respond(CLUSTERS, [], gone)

    def _prepared(self, kind: str, messages: Iterable[XdsResource]) -> bool:
        """Return True if all are encoded; otherwise start encoding them in slices, while secrets are sent."""
        missing = [m for m in messages if not self._encoder.ready(m)]
        if missing and (self._preparing is None or self._preparing.done()):
            self._preparing = asyncio.create_task(self._prepare(kind, missing))
        return not missing

    async def _prepare(self, kind: str, messages: Sequence[XdsResource]) -> None:
        clock = asyncio.get_running_loop().time
        pause = clock() + _SLICE
        for message in messages:
            for _ in self._encoder.prepare(kind, message):
                if clock() > pause:
                    await asyncio.sleep(0)
                    pause = clock() + _SLICE
        self._preparing = None
        self._wake.set()

    # Both

    def _respond(
        self, kind: str, resources: Sequence[Resource], gone: Sequence[str], greeting: bool = False
    ) -> Any | None:
        if not (resources or gone or greeting):
            return None
        nonce = f"{next(self._nonces)}"
        self._subscriptions[kind].send(nonce, [(r.name, r.version) for r in resources], gone)
        return DeltaDiscoveryResponse(type_url=kind, nonce=nonce, resources=resources, removed_resources=gone)

    def _take(self, kind: str, answer: Answer) -> None:
        if kind == SECRETS:
            self._take_secrets(answer)
            return
        if answer.error and len(answer.sent) > 1:
            # As with secrets: one bad resource spoils its response, so each is sent again, alone.
            self._alone.update((kind, name) for name, _ in answer.sent)
            self._subscriptions[kind].again(name for name, _ in answer.sent)
            return
        for name, version in answer.sent:
            if answer.error:
                self._acks.refusals[kind, name] = answer.error
                continue
            self._acks.refusals.pop((kind, name), None)
            if kind == ROUTES:
                self._acks.route_versions[name] = version
        if answer.error and kind == LISTENERS:
            self._later(lambda: self._subscriptions[LISTENERS].again(n for n, _ in answer.sent))

    def _take_secrets(self, answer: Answer) -> None:
        contents = {sent: self._offered.pop(sent, None) for sent in answer.sent}
        if not answer.error:
            for (name, digest), content in contents.items():
                self._acks.accepted(name, digest)
                self._filled.add(name)
                if content is not None:
                    self._acks.fallbacks.accepted(name, content)
        elif len(answer.sent) == 1:
            name, digest = answer.sent[0]
            self._acks.refused(name, digest, answer.error)
        else:
            # One bad secret spoils its response, and Envoy does not say which: each again, alone.
            subscription = self._subscriptions[SECRETS]
            for name, digest in answer.sent:
                if subscription.known.get(name) == digest:
                    self._acks.rejected_resource(name, digest)
                    self._alone.add((SECRETS, name))
                    subscription.again([name])

    def _later(self, act: Callable[[], None]) -> None:
        def once_more() -> None:
            act()
            self._wake.set()

        asyncio.get_running_loop().call_later(_RETRY, once_more)


def _mismatch(content: SlotContent) -> str:
    """Return the reason to withhold a content from Envoy ("" = none)."""
    if content.secret.trust:
        return ""
    if content.key is None:
        return "The private key of this certificate is not at hand."
    if content.key.spki == content.secret.chain.spki:
        return ""
    return "The private key does not belong to the certificate."
