"""Which certificate sits where on an HTTPS listener. Called by ``listeners`` and ``snapshot``.

A *seat* is the name under which Envoy gets a secret: the listener, the place (a host name, or the
default) and a number, for a name may have an RSA and an ECDSA certificate. Seats outlive the
certificates on them: choosing another certificate changes what a seat holds, and no connection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress, count
from operator import is_not
from typing import Final, NamedTuple

from certferry.core.envoy.resource import Secret, remembered
from certferry.core.model.elb import Certificate, Listener

DEFAULT: Final = "default"
CLIENT_CA: Final = "client-ca"
_REMEMBERED: Final = 4_096
"""Listeners whose last answer is kept."""
_NAME: Final = re.compile(r"(\*\.)?[^*]+")
"""What Envoy takes as a server name; any other fails the whole listener."""


class Bound(NamedTuple):
    """The few facts of a bound certificate that decide where it sits."""

    id: str
    names: tuple[str, ...]
    rsa: bool


class ServerName(NamedTuple):
    """A host name of a listener (None: every other one), its seats and the certificates on them."""

    name: str | None
    seats: tuple[str, ...]
    certificates: tuple[str, ...]


def usable(certificate: Certificate | None) -> bool:
    """Whether Envoy can load it at all. What it cannot is kept from it: one bad chain fails a listener."""
    return certificate is not None and certificate.chain is not None and certificate.chain.loadable


def label(name: str) -> str:
    """A host name as a place. Places without a dot are ours, so a host without one gets a final dot."""
    return name if "." in name else f"{name}."


def secret_name(listener_id: str, place: str, number: int = 0) -> str:
    """The name of a seat."""
    return f"{listener_id}/{place}/{number}"


class SdsAssignment(NamedTuple):
    """A listener's places, and what sits on their seats."""

    places: tuple[ServerName, ...]
    secrets: dict[str, Secret]


class _Before(NamedTuple):
    """The last answer for a listener, and what it was made of."""

    refs: tuple[str, ...]
    past: tuple[str, ...]
    held: tuple[Certificate | None, ...]
    bound: tuple[Bound | None, ...]
    answer: SdsAssignment
    seats: Mapping[str, tuple[str, ...]]
    """The seats of each certificate."""


_before: dict[str, _Before] = {}


def assign_secrets(
    listener: Listener, certificates: Mapping[str, Certificate], hosts: Collection[str]
) -> SdsAssignment:
    """The places of `listener`, sorted by name, the default first if it has a usable certificate.

    `hosts` are the names that its rules mention: a past name keeps its place while one does. New
    content of one certificate among a thousand is answered from the last answer for the listener:
    only what sits on that certificate's seats is made anew.
    """
    refs = (listener.default_tls_container_ref or "", *(listener.sni_container_refs or ()))
    past = tuple(n for n in listener.past_names if _mentioned(n, hosts)) if listener.past_names else ()
    held = tuple(map(certificates.get, refs))
    before = _before.get(listener.id)
    if before is not None and before.refs == refs and before.past == past:
        changed = list(compress(count(), map(is_not, before.held, held)))
        if all(_bound(held[n]) == before.bound[n] for n in changed):
            made = _reseated(before, held, changed)
            _before[listener.id] = made
            return made.answer
    bound = tuple(map(_bound, held))
    default = refs[0] if bound[0] is not None else ""
    places = _places(listener.id, default, tuple(b for b in bound[1:] if b is not None), past)
    seats: dict[str, tuple[str, ...]] = {}
    for place in places:
        for name, ref in zip(place.seats, place.certificates, strict=True):
            seats[ref] = (*seats.get(ref, ()), name)
    answer = SdsAssignment(places, {n: s for place in places for n, s in _secrets(place, certificates)})
    if len(_before) >= _REMEMBERED:
        _before.clear()
    _before[listener.id] = _Before(refs, past, held, bound, answer, seats)
    return answer


def _reseated(before: _Before, held: tuple[Certificate | None, ...], changed: list[int]) -> _Before:
    """`before`, with the new content of the certificates at `changed`, which sit where they sat."""
    secrets = before.answer.secrets
    if changed:
        secrets = dict(secrets)
        for number in changed:
            certificate = held[number]
            if certificate is not None and certificate.chain is not None:
                for name in before.seats.get(before.refs[number], ()):
                    secrets[name] = Secret(name=name, chain=certificate.chain)
    return before._replace(held=held, answer=SdsAssignment(before.answer.places, secrets))


def _secrets(place: ServerName, certificates: Mapping[str, Certificate]) -> Iterator[tuple[str, Secret]]:
    for name, ref in zip(place.seats, place.certificates, strict=True):
        chain = certificates[ref].chain
        assert chain is not None
        yield name, Secret(name=name, chain=chain)


def _bound(certificate: Certificate | None) -> Bound | None:
    """None if Envoy cannot load it."""
    if certificate is None or not usable(certificate):
        return None
    assert certificate.chain is not None
    return Bound(certificate.id, certificate.domain, certificate.chain.key[:3] == "RSA")


@remembered
def _places(
    listener_id: str, default: str, bound: tuple[Bound, ...], past: tuple[str, ...]
) -> tuple[ServerName, ...]:
    holders = _holders(bound)
    found = [ServerName(None, (secret_name(listener_id, DEFAULT),), (default,))] if default else []
    for name in sorted({*holders, *past}):
        if ids := _holder(name, holders) or ((default,) if default else ()):
            seats = tuple(secret_name(listener_id, label(name), n) for n in range(len(ids)))
            found.append(ServerName(name, seats, ids))
    return tuple(found)


def _holders(bound: Iterable[Bound]) -> dict[str, tuple[str, ...]]:
    """Certificate ids by name: ECDSA before RSA (preferred by clients that know both); the first wins."""
    kinds: dict[str, dict[bool, str]] = {}
    for certificate in bound:
        for name in filter(_NAME.fullmatch, certificate.names):
            kinds.setdefault(name.lower(), {}).setdefault(certificate.rsa, certificate.id)
    return {name: tuple(by[rsa] for rsa in sorted(by)) for name, by in kinds.items()}


def _holder(name: str, holders: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The certificates for exactly `name`, else those of the longest wildcard over it."""
    if name in holders:
        return holders[name]
    parts = name.removeprefix("*.").split(".")
    over = (holders.get("*." + ".".join(parts[n:])) for n in range(1, len(parts)))
    return next((ids for ids in over if ids), ())


def _mentioned(name: str, hosts: Collection[str]) -> bool:
    """Whether a rule speaks of `name`, by itself or by a wildcard over it."""
    parts = name.split(".")
    return name in hosts or any("*." + ".".join(parts[n:]) in hosts for n in range(1, len(parts)))
