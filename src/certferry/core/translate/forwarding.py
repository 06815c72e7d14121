"""Build the pools and policies of one listener: the targets of paths, redirects and their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import Listener, Policy, RedirectUrl, Rule, State
from certferry.core.model.kubernetes import Backend, ClusterView, Path
from certferry.core.model.problems import Problem
from certferry.core.translate import policy_priorities as priorities
from certferry.core.translate import pools
from certferry.core.translate.ingress_annotations import MATCH_MODES
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions

_LONGEST: Final = 128
"""Characters of the value of a rule (ELB v3)."""
_CHALLENGE: Final = "/.well-known/acme-challenge/"
"""Paths of an ACME HTTP-01 solver (RFC 8555 8.3), which answers by HTTP also for a host that is redirected."""


class Forwarding(msgspec.Struct, frozen=True, kw_only=True):
    """The pools and policies of one listener, by key."""

    made: Mapping[str, pools.BuiltPool]
    """The pools by key, with the sources of their members."""
    policies: Mapping[str, Policy]
    default_pool: str | None
    """Key of the pool for requests that no policy matches."""
    advanced: bool
    """True if the listener needs advanced forwarding, in which policies have numbers."""
    problems: tuple[Problem, ...]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One desired policy: its claim and its conditions."""

    claim: ListenerClaim
    host: str
    compare: str
    path: str
    target: Backend | RedirectUrl
    place: int
    """Its index among all paths of its Ingress."""

    @property
    def match(self) -> tuple[str, str, str]:
        """Return the identity of its conditions: equal routes match the same requests."""
        return self.host, self.compare, self.path

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the conditions."""
        hosts = (Rule(type="HOST_NAME", value=self.host),) if self.host else ()
        return (*hosts, Rule(type="PATH", compare_type=self.compare, value=self.path))


class _Pools:
    """Builds each pool of a listener once, on first use."""

    def __init__(self, listener: str, view: ClusterView, options: TranslateOptions) -> None:
        self._listener, self._view, self._options = listener, view, options
        self.made: dict[str, pools.BuiltPool] = {}

    def key(self, claim: ListenerClaim, backend: Backend) -> str:
        """Return the key of the pool for `backend`; the first claim decides its settings."""
        key = pools.pool_key(claim, backend, self._listener)
        if key not in self.made:
            self.made[key] = pools.build_pool(claim, backend, self._listener, self._view, self._options)
        return key


def forward(
    group: Sequence[ListenerClaim],
    listener: str,
    view: ClusterView,
    options: TranslateOptions,
    have: Listener | None,
    observed: State,
) -> Forwarding:
    """Build pools and policies for `listener` (its key); of two equal rules the older Ingress's is used."""
    problems: list[Problem] = []
    builder = _Pools(listener, view, options)
    routes = _routes(group, options, problems)
    default_pool = None
    for claim in group:
        if objection := claim.redirect_objection:
            text = f"Annotation kubernetes.io/elb.redirect-url is ignored on port {claim.port}: {objection}."
            problems.append(claim.problem("AnnotationInvalid", text))
        if claim.ingress.default_backend and claim.https_port is None and default_pool is None:
            default_pool = builder.key(claim, claim.ingress.default_backend)
    policies: dict[str, Policy] = {}
    placed: dict[str, Route] = {}
    for route in routes:
        policy = _policy(route, listener, view.cluster_id, builder)
        policies[policy.id], placed[policy.id] = policy, route
    advanced = bool(have and have.enhance_l7policy_enable) or any(_needs_numbers(r) for r in routes)
    if advanced:
        problems += _orders(group)
        numbers = _numbers(placed, policies, have, observed)
        policies = {k: msgspec.structs.replace(p, priority=numbers[k]) for k, p in policies.items()}
    made = builder.made
    problems += [p for m in made.values() for p in m.problems]
    return Forwarding(
        made=made,
        policies=policies,
        default_pool=default_pool,
        advanced=advanced,
        problems=tuple(dict.fromkeys(problems)),
    )


def redirect(group: Sequence[ListenerClaim], listener: str, target: str, cluster_id: str) -> Mapping[str, Policy]:
    """Return the policy that redirects all requests of an HTTP listener to the HTTPS listener `target`."""
    claim = group[0]
    name = names.policy_name(claim.ingress.meta.key, "redirect")
    key = f"@policy/{listener}/{name}"
    policy = Policy(
        id=key,
        listener_id=listener,
        action="REDIRECT_TO_LISTENER",
        name=name,
        description=_description(claim, cluster_id, "redirect"),
        redirect_listener_id=target,
    )
    return {key: policy}


def overridden(group: Sequence[ListenerClaim]) -> Iterator[Problem]:
    """Report the Ingresses on whose requests the redirect of the listener owner acts, against their wish."""
    for claim in group:
        if claim.https_port != group[0].https_port:
            text = f"HTTP requests on port {claim.port} are redirected to HTTPS by the older Ingress {group[0].ingress.meta.key}; the rules of this Ingress have no effect."
            yield claim.problem("PathConflict", text)


def _routes(group: Sequence[ListenerClaim], options: TranslateOptions, problems: list[Problem]) -> list[Route]:
    """Return the routes, oldest claim first, without conflicts and those over the limit."""
    owners: dict[tuple[str, str, str], Route] = {}
    redirects: dict[str, ListenerClaim] = {}
    for claim in group:
        for route in _asked(claim, problems):
            if max(len(route.host), len(route.path)) > _LONGEST:
                text = f"A load balancer matches at most {_LONGEST} characters of a host or path; {route.host or 'any host'}{route.path} is left out."
                problems.append(claim.problem("LimitExceeded", text))
                continue
            owner = owners[route.match].claim if route.match in owners else None
            if not f"{route.path}/".startswith(_CHALLENGE):
                owner = owner or redirects.get(route.host)
            if owner:
                if owner is not claim:
                    problems.append(_conflict(route, owner))
            elif len(owners) >= options.max_policies:
                problems.append(
                    claim.problem(
                        "LimitExceeded",
                        f"Port {claim.port} has {options.max_policies} forwarding policies, the most a listener may have; paths of this Ingress are left out.",
                    )
                )
                break
            else:
                owners[route.match] = route
                if claim.https_port:
                    redirects[route.host] = claim
    return list(owners.values())


def _conflict(route: Route, owner: ListenerClaim) -> Problem:
    claim, what = route.claim, f"{route.host or 'Any host'}{route.path}"
    done = f"redirected to HTTPS port {owner.https_port}" if owner.https_port else "routed"
    effect = "redirect to HTTPS" if claim.https_port else "rule"
    text = f"{what} on port {claim.port} is {done} by the older Ingress {owner.ingress.meta.key}; this {effect} has no effect."
    return claim.problem("PathConflict", text)


def _asked(claim: ListenerClaim, problems: list[Problem]) -> Iterator[Route]:
    place = 0
    if claim.https_port:
        hosts = dict.fromkeys(rule.host for rule in claim.ingress.rules)
        url = RedirectUrl(status_code="301", protocol="HTTPS", port=str(claim.https_port))
        for place, host in enumerate(hosts | ({"": None} if claim.ingress.default_backend else {})):
            yield Route(claim=claim, host=host, compare="STARTS_WITH", path="/", target=url, place=place)
        return
    for rule in claim.ingress.rules:
        for path in rule.paths:
            if path.backend is None:
                continue
            # an element-wise prefix needs two policies
            for compare, value in _comparisons(claim, path, problems):
                target = _url(claim) or path.backend
                yield Route(claim=claim, host=rule.host, compare=compare, path=value, target=target, place=place)
                place += 1


def _comparisons(claim: ListenerClaim, path: Path, problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    if path.path_type == "Exact":
        return (("EQUAL_TO", path.path),)
    if path.path_type == "Prefix":
        stem = path.path.rstrip("/")
        # /foo matches /foo and /foo/bar, not /foobar: a bare STARTS_WITH would be too wide
        return (("EQUAL_TO", stem), ("STARTS_WITH", f"{stem}/")) if stem else (("STARTS_WITH", "/"),)
    mode = path.match_mode or claim.values.match_mode or "STARTS_WITH"
    if mode not in MATCH_MODES:
        text = (
            f"The match mode “{mode}” of path {path.path} is not one of {', '.join(MATCH_MODES)}; STARTS_WITH is used."
        )
        problems.append(claim.problem("AnnotationInvalid", text))
        mode = "STARTS_WITH"
    return ((mode, path.path),)


def _policy(route: Route, listener: str, cluster_id: str, builder: _Pools) -> Policy:
    claim = route.claim
    ingress = claim.ingress.meta.key
    name = names.policy_name(ingress, *(f"{r.type} {r.compare_type} {r.value}" for r in route.rules))
    url = route.target if isinstance(route.target, RedirectUrl) else None
    pool = None if isinstance(route.target, RedirectUrl) else builder.key(claim, route.target)
    key = f"@policy/{listener}/{name}"
    return Policy(
        id=key,
        listener_id=listener,
        action="REDIRECT_TO_URL" if url else "REDIRECT_TO_POOL",
        name=name,
        description=_description(claim, cluster_id, route.target),
        redirect_pool_id=pool,
        redirect_url_config=url,
        rules=route.rules,
    )


def _description(claim: ListenerClaim, cluster_id: str, target: RedirectUrl | Backend | str) -> str:
    # the rules are in the name
    return names.describe(cluster_id, ingress_id=claim.ingress.meta.uid, settings=names.mark(target))


def _url(claim: ListenerClaim) -> RedirectUrl | None:
    return claim.values.redirect_url if claim.redirect_objection is None else None


def _needs_numbers(route: Route) -> bool:
    values = route.claim.values
    return (
        values.ingress_order is not None
        or bool(values.rule_priority_enabled)
        or isinstance(route.target, RedirectUrl)
        or route.host.startswith("*")
    )


def _orders(group: Sequence[ListenerClaim]) -> Iterator[Problem]:
    first: dict[int, ListenerClaim] = {}
    for claim in group:
        order = claim.values.ingress_order
        if order is not None and (older := first.setdefault(order, claim)) is not claim:
            text = f"Annotation kubernetes.io/elb.ingress-order {order} is also that of the older Ingress {older.ingress.meta.key} on port {claim.port}; the older one comes first. Give each its own number."
            yield claim.problem("AnnotationInvalid", text)


def _numbers(
    placed: Mapping[str, Route], policies: Mapping[str, Policy], have: Listener | None, observed: State
) -> Mapping[str, int]:
    there = [p for p in observed.policies.values() if have and p.listener_id == have.id]
    present = {(p.name, p.action): p.priority for p in there}
    numbers = {key: number for key, p in policies.items() if (number := present.get((p.name, p.action))) is not None}
    ages = {ref: age for age, ref in enumerate(dict.fromkeys(id(r.claim) for r in placed.values()))}

    def rank(key: str) -> tuple[int, ...]:
        route, values = placed[key], placed[key].claim.values
        age = ages[id(route.claim)]
        if route.claim.https_port:
            return (2, *priorities.particular(*route.match), age, route.place)
        if values.ingress_order is not None:
            return (0, values.ingress_order, age, route.place)
        if values.rule_priority_enabled:
            return (1, age, route.place)
        return (2, *priorities.particular(*route.match), age, route.place)

    return priorities.assign(sorted(placed, key=rank), numbers, {p.priority for p in there if p.priority})
