"""One search for all clusters: hosts, Ingresses, Secrets, ELB certificates and listeners, by name, id or fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from certferry.console.judge.health import host_places, status_of
from certferry.console.judge.hosts import own_expiry
from certferry.console.pages.request import Page, PageRequest
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import LoginRequired, PageError
from certferry.console.web.formatting import Badge, expiry
from certferry.console.web.forms import path
from certferry.core.diagnosis.host_state import HostState
from certferry.core.model.kubernetes import Name
from certferry.core.x509.pem import Chain

MOST: Final = 20
"""Most results of one kind."""
WAIT: Final = 1.0
"""Seconds that the page waits for each cluster."""
_COLONS: Final = re.compile(r"^([0-9a-f]{2}:)+[0-9a-f]{0,2}$")


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One object that matches."""

    kind: str
    name: str
    detail: str
    cluster: str
    href: str
    expires: Badge | None = None
    status: Badge | None = None


async def show(request: PageRequest) -> Response:
    """GET /search?q=."""
    query = request.query.get("q", "").strip()
    words = [_plain(word) for word in query.lower().split()]
    clusters, errors = await _clusters(request)
    groups: dict[str, list[SearchResult]] = {}
    for cluster in clusters if words else ():
        for result, text in _objects(cluster):
            if all(word in text for word in words):
                groups.setdefault(result.kind, []).append(result)
    for results in groups.values():
        results.sort(key=lambda result: (not _exact(result, words), result.name))
    return request.render(
        "clusters/search.html",
        search=query,
        groups=groups,
        most=MOST,
        errors=errors,
        found=sum(map(len, groups.values())),
    )


def _plain(word: str) -> str:
    """Return a fingerprint without its colons; any other word as it is."""
    return word.replace(":", "") if _COLONS.match(word) else word


def _exact(result: SearchResult, words: Sequence[str]) -> bool:
    return result.name.lower() in words or result.name.rpartition("/")[2].lower() in words


async def _clusters(request: PageRequest) -> tuple[list[ClusterContext], list[str]]:
    """Return the clusters that are read, and the names of the others."""
    clusters: list[ClusterContext] = []
    errors: list[str] = []
    for access in request.console.fleet.clusters:
        try:
            cluster = request.context_of(access)
        except (LoginRequired, PageError):
            errors.append(access.name)
            continue
        if await cluster.ready(WAIT):
            clusters.append(cluster)
        else:
            errors.append(access.name)
    return clusters, errors


def _objects(cluster: ClusterContext) -> Iterator[tuple[SearchResult, str]]:
    """Yield each object with the lower-case text to search."""
    name, derived, limits = cluster.name, cluster.derived, cluster.access.limits

    def result(kind: str, title: str, detail: str, *parts: str, chain: Chain | None = None) -> SearchResult:
        href = path("clusters", name, *parts)
        badge = expiry(chain, derived.at, limits) if chain else None
        return SearchResult(kind=kind, name=title, detail=detail, cluster=name, href=href, expires=badge)

    of_ingress: dict[Name, list[HostState]] = {}
    for place in host_places(cluster):
        for state in place.states:
            for claim in state.claims:
                of_ingress.setdefault(claim, []).append(state)
        bound = place.worst.bound
        one = result(
            "Hosts",
            place.host or "No host name",
            place.place,
            "hosts",
            place.host or "-",
            chain=bound.chain if bound else None,
        )
        yield msgspec.structs.replace(one, status=place.badge), _text(place.host, place.place)
    for ingress_name, ingress in sorted(cluster.kube.ingresses.items()):
        detail = ", ".join(ingress.parsed.hosts[:3])
        parts = ("ingresses", ingress_name.namespace, ingress_name.name)
        text = _text(str(ingress_name), ingress.uid, *ingress.parsed.hosts)
        one = result("Ingresses", str(ingress_name), detail, *parts)
        if hosts := of_ingress.get(ingress_name):
            own = own_expiry(hosts, ingress_name, derived.at, limits)
            one = msgspec.structs.replace(one, status=status_of(hosts), expires=own.badge if own else None)
        yield one, text
    for secret_name, secret in sorted(cluster.kube.secrets.items()):
        chain = secret.parsed.chain
        parts = ("secrets", secret_name.namespace, secret_name.name)
        detail = ", ".join(chain.names[:3]) if chain else secret.type
        text = _text(str(secret_name), secret.uid, *_of_chain(chain))
        yield result("Secrets", str(secret_name), detail, *parts, chain=chain), text
    for certificate in sorted(cluster.elb.state.certificates.values(), key=lambda c: (c.name, c.id)):
        chain = certificate.chain
        detail = ", ".join(chain.names[:3]) if chain else "cannot be read"
        text = _text(certificate.name, certificate.id, *certificate.domain, *_of_chain(chain))
        title = certificate.name or certificate.id
        yield result("ELB certificates", title, detail, "elb", "certificates", certificate.id, chain=chain), text
    for listener in sorted(cluster.elb.state.listeners.values(), key=lambda li: (li.loadbalancer_id, li.protocol_port)):
        detail = f"{listener.protocol}/{listener.protocol_port}"
        text = _text(listener.name or "", listener.id, detail)
        yield result("Listeners", listener.name or listener.id, detail, "elb", "listeners", listener.id), text


def _of_chain(chain: Chain | None) -> tuple[str, ...]:
    return (chain.fingerprint, chain.serial, *chain.names) if chain else ()


def _text(*parts: str) -> str:
    return " ".join(parts).lower()


PAGES: Final[tuple[Page, ...]] = (Page("/search", show),)
