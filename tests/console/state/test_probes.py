"""Probes of the console: retries until the expected certificate is served, and differences of chains.

Each test runs its own event loop in a thread, because a browser of another test may run one in this thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certferry.console.judge.hosts import served_badge
from certferry.console.state.cluster_view import derive
from certferry.console.state.probes import ProbeCache
from certferry.core.diagnosis.host_probes import with_probes
from certferry.core.diagnosis.host_state import HostState
from certferry.core.model.elb import Certificate, Listener, LoadBalancer, State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import parse_chain
from certferry.runtime.tls_probe import Target
from tests.support.certs import Authority, Pair, authority

OLD, NEW = authority().issue("a.example"), authority().issue("a.example")


def run(work: Coroutine[Any, Any, None]) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, work).result()


def tls_context(folder: Path, pair: Pair) -> ssl.SSLContext:
    file = folder / "pair.pem"
    file.write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def host_state(target: Target, pair: Pair) -> HostState:
    """Return the state of the host of `target`, for which an ELB has the certificate of `pair`."""
    balancer = LoadBalancer(id="lb", name="edge", vip_address=target.address)
    certificate = Certificate(id="c", name="c", chain=parse_chain(pair.certificate), domain=(target.host,))
    listener = Listener(
        id="l",
        loadbalancer_id="lb",
        protocol="HTTPS",
        protocol_port=target.port,
        default_tls_container_ref="c",
        sni_container_refs=("c",),
    )
    state = State(loadbalancers={"lb": balancer}, listeners={"l": listener}, certificates={"c": certificate})
    now = datetime.now(UTC)
    derived = derive(ClusterView(cluster_id="test"), state, TranslateOptions(cluster_name="test"), Limits(), now)
    (host,) = [host for host in derived.hosts if host.host == target.host]
    return host


def seen(probes: ProbeCache, state: HostState) -> HostState:
    (after,) = with_probes([state], probes.results([state]), ClusterView(cluster_id="test"), datetime.now(UTC))
    return after


def fingerprint(pair: Pair) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pair.certificate)).hexdigest()


@asynccontextmanager
async def listener(context: ssl.SSLContext, host: str) -> AsyncIterator[Target]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    yield Target(address="127.0.0.1", port=server.sockets[0].getsockname()[1], host=host)
    server.close()


def late(folder: Path) -> ssl.SSLContext:
    """Return the context of a listener that serves NEW from its third handshake on."""
    first, later = tls_context(folder, OLD), tls_context(folder, NEW)
    handshakes = 0

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        nonlocal handshakes
        handshakes += 1
        if handshakes > 2:
            connection.context = later

    first.sni_callback = choose
    return first


def test_a_listener_is_probed_until_it_serves_the_expected_certificate(tmp_path: Path) -> None:
    async def work() -> None:
        probes, fingerprints = ProbeCache(), []
        async with listener(late(tmp_path), "a.example") as target, asyncio.timeout(10):
            state = host_state(target, NEW)
            probes.request([state])
            async for _ in probes.changed.changes():
                if shown := seen(probes, state).shown:
                    fingerprints.append(shown[0].fingerprint)
                if fingerprints and fingerprints[-1] == fingerprint(NEW):
                    break
        assert served_badge([seen(probes, state)]).word == "Served"
        assert fingerprints == [fingerprint(OLD), fingerprint(NEW)]
        await probes.close()

    run(work())


def test_the_right_leaf_with_another_chain_is_an_objection(tmp_path: Path) -> None:
    async def work() -> None:
        intermediate = Authority("Between", by=authority())
        bare = intermediate.issue("b.example")
        whole = bare.certificate + intermediate.certificate
        async with listener(tls_context(tmp_path, bare), "b.example") as target:
            result = await ProbeCache().probe(target, [])
        assert result.objection(parse_chain(bare.certificate)) == ""
        assert "is not sent with it" in result.objection(parse_chain(whole))
        assert result.objection(parse_chain(OLD.certificate)) == "Another certificate is served."

    run(work())


def test_a_host_state_has_what_handshakes_show(tmp_path: Path) -> None:
    async def work() -> None:
        probes = ProbeCache()
        async with listener(tls_context(tmp_path, OLD), "a.example") as target:
            state = host_state(target, NEW)
            assert served_badge([seen(probes, state)]).word == "Accepted"
            await probes.probe(target, [parse_chain(NEW.certificate)])
        wrong = seen(probes, state)
        assert (wrong.status, served_badge([wrong]).word) == ("wrong", "Wrong certificate served")
        assert fingerprint(OLD)[:16] in wrong.sentence
        # what was shown before a change says nothing about the new content
        changed = host_state(target, OLD)
        assert seen(probes, changed) == changed
        await probes.probe(target, [parse_chain(OLD.certificate)])  # nothing listens there now
        gone = seen(probes, changed)
        assert (gone.status, served_badge([gone]).word) == ("unreachable", "Not reachable")

    run(work())
