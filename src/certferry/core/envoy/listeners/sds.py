"""Assign the certificates of an HTTPS listener to SDS secrets.

The name of a secret is its slot: the listener, the place (a host name, or the default) and a number, because a name may
have an RSA and an ECDSA certificate. Slots outlive certificates: choosing another certificate changes the secret of a
slot, and closes no connection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress, count
from operator import is_not
from typing import Final, NamedTuple

from certferry.core.envoy.resource import TlsSecret, remembered
from certferry.core.model.elb import Certificate, Listener

DEFAULT: Final = "default"
CLIENT_CA: Final = "client-ca"
_REMEMBERED: Final = 4_096
"""Listeners whose last assignment is cached."""
_NAME: Final = re.compile(r"(\*\.)?[^*]+")
"""A server name that Envoy accepts; any other fails the whole listener."""


class Bound(NamedTuple):
    """The facts of a bound certificate that decide its slots."""

    id: str
    names: tuple[str, ...]
    rsa: bool


class ServerName(NamedTuple):
    """A host name of a listener (None: every other one), its slots and their certificates."""

    name: str | None
    slots: tuple[str, ...]
    certificates: tuple[str, ...]


def usable(certificate: Certificate | None) -> bool:
    """Return whether Envoy can load it. An unusable chain is not sent, because it fails the whole listener."""
    return certificate is not None and certificate.chain is not None and certificate.chain.loadable


def label(name: str) -> str:
    """Return the place of a host name. Places without a dot are reserved, so such a host gets a final dot."""
    return name if "." in name else f"{name}."


def secret_name(listener_id: str, place: str, number: int = 0) -> str:
    """Return the name of a slot's secret."""
    return f"{listener_id}/{place}/{number}"


class SdsAssignment(NamedTuple):
    """A listener's places, and the secrets of their slots."""

    places: tuple[ServerName, ...]
    secrets: dict[str, TlsSecret]


class _Before(NamedTuple):
    """The last assignment of a listener, and its inputs."""

    refs: tuple[str, ...]
    past: tuple[str, ...]
    held: tuple[Certificate | None, ...]
    bound: tuple[Bound | None, ...]
    answer: SdsAssignment
    slots: Mapping[str, tuple[str, ...]]
    """The slots of each certificate."""


_before: dict[str, _Before] = {}


def assign_secrets(
    listener: Listener, certificates: Mapping[str, Certificate], hosts: Collection[str]
) -> SdsAssignment:
    """Return the places of `listener`, sorted by name, the default first if it has a usable certificate.

    `hosts` are the names in its rules: a past name keeps its place while a rule has it. If only contents changed, the
    last assignment is reused with new secrets for the slots of those certificates.
    """
    refs = (listener.default_tls_container_ref or "", *(listener.sni_container_refs or ()))
    past = tuple(n for n in listener.past_names if _mentioned(n, hosts)) if listener.past_names else ()
    held = tuple(map(certificates.get, refs))
    before = _before.get(listener.id)
    if before is not None and before.refs == refs and before.past == past:
        changed = list(compress(count(), map(is_not, before.held, held)))
        if all(_bound(held[n]) == before.bound[n] for n in changed):
            made = _with_new_content(before, held, changed)
            _before[listener.id] = made
            return made.answer
    bound = tuple(map(_bound, held))
    default = refs[0] if bound[0] is not None else ""
    places = _places(listener.id, default, tuple(b for b in bound[1:] if b is not None), past)
    slots: dict[str, tuple[str, ...]] = {}
    for place in places:
        for name, ref in zip(place.slots, place.certificates, strict=True):
            slots[ref] = (*slots.get(ref, ()), name)
    answer = SdsAssignment(places, {n: s for place in places for n, s in _secrets(place, certificates)})
    if len(_before) >= _REMEMBERED:
        _before.clear()
    _before[listener.id] = _Before(refs, past, held, bound, answer, slots)
    return answer


def _with_new_content(before: _Before, held: tuple[Certificate | None, ...], changed: list[int]) -> _Before:
    """Return `before` with the new content of the certificates at `changed`, in the same slots."""
    secrets = before.answer.secrets
    if changed:
        secrets = dict(secrets)
        for number in changed:
            certificate = held[number]
            if certificate is not None and certificate.chain is not None:
                for name in before.slots.get(before.refs[number], ()):
                    secrets[name] = TlsSecret(name=name, chain=certificate.chain)
    return before._replace(held=held, answer=SdsAssignment(before.answer.places, secrets))


def _secrets(place: ServerName, certificates: Mapping[str, Certificate]) -> Iterator[tuple[str, TlsSecret]]:
    for name, ref in zip(place.slots, place.certificates, strict=True):
        chain = certificates[ref].chain
        assert chain is not None
        yield name, TlsSecret(name=name, chain=chain)


def _bound(certificate: Certificate | None) -> Bound | None:
    """Return the facts of a certificate, or None if Envoy cannot load it."""
    if certificate is None or not usable(certificate):
        return None
    assert certificate.chain is not None
    return Bound(certificate.id, certificate.domain, certificate.chain.key[:3] == "RSA")


@remembered
def _places(listener_id: str, default: str, bound: tuple[Bound, ...], past: tuple[str, ...]) -> tuple[ServerName, ...]:
    holders = _holders(bound)
    places = [ServerName(None, (secret_name(listener_id, DEFAULT),), (default,))] if default else []
    for name in sorted({*holders, *(n.removesuffix(".") for n in past)}):
        if ids := _holder(name, holders) or ((default,) if default else ()):
            slots = tuple(secret_name(listener_id, label(name), n) for n in range(len(ids)))
            places.append(ServerName(name, slots, ids))
    return tuple(places)


def _holders(bound: Iterable[Bound]) -> dict[str, tuple[str, ...]]:
    """Return certificate ids by name: ECDSA before RSA (preferred by clients that support both); the first wins."""
    kinds: dict[str, dict[bool, str]] = {}
    for certificate in bound:
        for name in filter(_NAME.fullmatch, (n.lower().removesuffix(".") for n in certificate.names)):
            kinds.setdefault(name, {}).setdefault(certificate.rsa, certificate.id)
    return {name: tuple(by[rsa] for rsa in sorted(by)) for name, by in kinds.items()}


def _holder(name: str, holders: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the certificates for exactly `name`, else those of the longest wildcard over it."""
    if name in holders:
        return holders[name]
    parts = name.removeprefix("*.").split(".")
    over = (holders.get("*." + ".".join(parts[n:])) for n in range(1, len(parts)))
    return next((ids for ids in over if ids), ())


def _mentioned(name: str, hosts: Collection[str]) -> bool:
    """Return whether a rule has `name`, or a wildcard over it."""
    parts = name.split(".")
    return name in hosts or any("*." + ".".join(parts[n:]) in hosts for n in range(1, len(parts)))
