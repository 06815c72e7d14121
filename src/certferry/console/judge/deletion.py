"""Consequences of a deletion, as sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from certferry.console.state.cluster_view import DerivedState
from certferry.core.model.elb import Certificate, Listener, State
from certferry.core.model.kubernetes import Name
from certferry.core.plural import counted
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.core.x509.pem import listed


def of_ingress(derived: DerivedState, name: Name, options: TranslateOptions, now: datetime) -> list[str]:
    """Return the effects of deleting Ingress `name` on listeners and other Ingresses."""
    left = {n: i for n, i in derived.view.ingresses.items() if n != name}
    view = msgspec.structs.replace(derived.view, ingresses=MappingProxyType(left))
    after = translate(view, derived.state, options, now)
    before = derived.translation
    status = before.status.get(name)
    if status is None:
        return ["This controller does not serve it. No load balancer changes."]
    sentences = []
    for port, protocol in status.ports:
        key = _key(before, status.loadbalancer, port)
        if key is None:
            continue
        if key not in after.desired.listeners:
            sentences.append(f"Port {port} ({protocol}) of the load balancer closes, because no other Ingress uses it.")
        else:
            sentences += _shared(before, after, key, port, derived.state)
    hosts = derived.view.ingresses[name].hosts
    if hosts:
        sentences.append(f"This Ingress no longer forwards requests for {listed(hosts)}.")
    return sentences


def of_secret(derived: DerivedState, name: Name) -> list[str]:
    """Return the effects of deleting Secret `name`."""
    sentences = []
    uses, ingresses = derived.by_secret.get(name, ()), derived.referring.get(name, ())
    if ingresses:
        sentences.append(f"{_count(ingresses)} it: {listed(tuple(map(str, ingresses)))}.")
    if uses:
        hosts = tuple(sorted({h for use in uses for h in (*use.hosts, *use.names)}))
        sentences.append(
            f"Its certificate stays on {counted(len(uses), 'listener')}"
            + (f" and is still served to clients of {listed(hosts)}" if hosts else "")
            + ", but nothing renews it. Clients get warnings after it expires."
        )
    elif ingresses:
        sentences.append("No listener serves its certificate. HTTPS ports of these Ingresses may stay closed.")
    return sentences


def of_certificate(uses: int) -> list[str]:
    """Return why an ELB certificate in use cannot be deleted."""
    return [f"{counted(uses, 'listener')} use{'s' if uses == 1 else ''} it. Choose another one there first."]


def _shared(before: Translation, after: Translation, key: str, port: int, state: State) -> list[str]:
    sentences = []
    old, new = before.desired.listeners[key], after.desired.listeners[key]
    owner = next((str(s.listener_owner) for s in after.status.values() if _on(s.ports, port)), "another Ingress")
    if _default(before, old) != _default(after, new):
        sentences.append(
            f"Port {port} stays open for other Ingresses, and Ingress {owner} becomes its listener owner. "
            f"Its server certificate becomes {_named(_certificate(after, new, state))}."
        )
    changed = _hosts(before, port, after)
    if changed:
        sentences.append(f"Clients of {listed(changed)} get another certificate on port {port}.")
    return sentences or [f"Port {port} does not change for the other Ingresses on it."]


def _hosts(before: Translation, port: int, after: Translation) -> tuple[str, ...]:
    def served(translation: Translation) -> Mapping[str, frozenset[str]]:
        by_host: dict[str, set[str]] = {}
        for status in translation.status.values():
            for s in status.served:  # an RSA and an ECDSA certificate may share a host
                if s.port == port:
                    by_host.setdefault(s.host, set()).add(s.fingerprint)
        return {host: frozenset(prints) for host, prints in by_host.items()}

    old, new = served(before), served(after)
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
            for key, listener in translation.desired.listeners.items()
            if (listener.loadbalancer_id, listener.protocol_port) == (loadbalancer, port)
        ),
        None,
    )


def _on(ports: tuple[tuple[int, str], ...], port: int) -> bool:
    return any(number == port for number, _ in ports)


def _named(certificate: Certificate | None) -> str:
    if certificate is None:
        return "another certificate"
    names = certificate.chain.names if certificate.chain else ()
    return f"{certificate.name or certificate.id} ({listed(names)})"


def _count(names: tuple[Name, ...]) -> str:
    return "One Ingress names" if len(names) == 1 else f"{len(names)} Ingresses name"
