"""What a deletion would do, said before it is done. Pure: two worlds in, sentences out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from certferry.console.state.cluster_view import DerivedState
from certferry.core.model.elb import Certificate, Listener, State
from certferry.core.model.kubernetes import Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.core.x509.pem import listed


def of_ingress(derived: DerivedState, name: Name, options: TranslateOptions, now: datetime) -> list[str]:
    """What changes for everybody else when an Ingress goes."""
    left = {n: i for n, i in derived.view.ingresses.items() if n != name}
    view = msgspec.structs.replace(derived.view, ingresses=MappingProxyType(left))
    after = translate(view, derived.state, options, now)
    before = derived.translation
    status = before.status.get(name)
    if status is None:
        return ["It is not served by this controller: nothing changes on a load balancer."]
    told = []
    for port, protocol in status.ports:
        key = _key(before, status.loadbalancer, port)
        if key is None:
            continue
        if key not in after.desired.listeners:
            told.append(f"Port {port} ({protocol}) of the load balancer is closed: no other Ingress uses it.")
        else:
            told += _shared(before, after, key, port, derived.state)
    hosts = derived.view.ingresses[name].hosts
    if hosts:
        told.append(f"Requests for {listed(hosts)} are not forwarded by this Ingress any more.")
    return told


def of_secret(derived: DerivedState, name: Name) -> list[str]:
    """What breaks when a Secret goes."""
    told = []
    uses, naming = derived.by_secret.get(name, ()), derived.referring.get(name, ())
    if naming:
        told.append(f"{_count(naming)} it: {listed(tuple(map(str, naming)))}.")
    if uses:
        hosts = tuple(sorted({h for use in uses for h in (*use.hosts, *use.names)}))
        told.append(
            f"Its certificate stays on {_listeners(len(uses))} as it is"
            + (f" and is shown to clients of {listed(hosts)}" if hosts else "")
            + ", but nothing renews it any more; when it expires, clients are warned."
        )
    elif naming:
        told.append("No listener shows its certificate; HTTPS ports of these Ingresses may stay closed.")
    return told


def of_certificate(uses: int) -> list[str]:
    """What forbids the deletion of an ELB certificate."""
    return [
        f"{_listeners(uses).capitalize()} use{'s' if uses == 1 else ''} it. Choose another one there first."
    ]


def _shared(before: Translation, after: Translation, key: str, port: int, state: State) -> list[str]:
    told = []
    old, new = before.desired.listeners[key], after.desired.listeners[key]
    governing = next(
        (str(s.listener_owner) for s in after.status.values() if _on(s.ports, port)), "another Ingress"
    )
    if _default(before, old) != _default(after, new):
        told.append(
            f"Port {port} stays for other Ingresses, and {governing} governs it from then: "
            f"its server certificate becomes {_named(_certificate(after, new, state))}."
        )
    changed = _hosts(before, port, after)
    if changed:
        told.append(f"Clients of {listed(changed)} are shown another certificate on port {port}.")
    return told or [f"Port {port} stays as it is for the other Ingresses on it."]


def _hosts(before: Translation, port: int, after: Translation) -> tuple[str, ...]:
    def shown(it: Translation) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for status in it.status.values():
            for s in status.served:  # an RSA and an ECDSA certificate may share a host
                if s.port == port:
                    found.setdefault(s.host, set()).add(s.fingerprint)
        return {host: frozenset(prints) for host, prints in found.items()}

    old, new = shown(before), shown(after)
    return tuple(sorted(h for h in new if h in old and old[h] != new[h]))


def _default(translation: Translation, listener: Listener) -> str:
    certificate = translation.desired.certificates.get(listener.default_tls_container_ref or "")
    return certificate.chain.fingerprint if certificate and certificate.chain else ""


def _certificate(translation: Translation, listener: Listener, state: State) -> Certificate | None:
    ref = listener.default_tls_container_ref or ""
    return translation.desired.certificates.get(ref) or state.certificates.get(ref)


def _key(translation: Translation, loadbalancer: str, port: int) -> str | None:
    return next(
        (
            key
            for key, it in translation.desired.listeners.items()
            if (it.loadbalancer_id, it.protocol_port) == (loadbalancer, port)
        ),
        None,
    )


def _on(ports: tuple[tuple[int, str], ...], port: int) -> bool:
    return any(number == port for number, _ in ports)


def _named(certificate: Certificate | None) -> str:
    if certificate is None:
        return "another one"
    names = certificate.chain.names if certificate.chain else ()
    return f"{certificate.name or certificate.id} ({listed(names)})"


def _listeners(count: int) -> str:
    return "one listener" if count == 1 else f"{count} listeners"


def _count(names: tuple[Name, ...]) -> str:
    return "One Ingress names" if len(names) == 1 else f"{len(names)} Ingresses name"
