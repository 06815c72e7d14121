"""ELB > Load Balancers: the list, and one load balancer with its tabs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from starlette.responses import Response

from certferry.console.judge.hosts import served_badge
from certferry.console.pages.request import Page, PageRequest, cluster_page
from certferry.console.state.cluster_view import ClusterContext
from certferry.console.web.errors import not_found
from certferry.console.web.formatting import Badge
from certferry.console.web.forms import path
from certferry.console.web.listing import Column, TablePage
from certferry.core.diagnosis.usage import Use
from certferry.core.model.elb import Listener, LoadBalancer, Policy, Rule, State, bind_port
from certferry.core.model.kubernetes import Name
from certferry.core.model.naming import described, is_of
from certferry.elb.client.client import Resource

TABS: Final = ("summary", "listeners", "policies", "status")
SEVERITY: Final = {"OFFLINE": 0, "DEGRADED": 1}


class LoadBalancerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One load balancer."""

    balancer: LoadBalancer
    listeners: tuple[Listener, ...]
    ingresses: int

    @property
    def text(self) -> str:
        """Text that the search matches."""
        b = self.balancer
        return f"{b.name} {b.id} {b.vip_address or ''}"


class ListenerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One listener."""

    listener: Listener
    port: int
    """Port that is really bound."""
    owner: Name | None
    """The listener owner."""
    ours: bool
    """True if the controller of a cluster manages it."""
    uses: tuple[Use, ...]
    state: Badge | None


LISTENER_COLUMNS: Final = (
    Column("name", "Name", lambda li: li.name or li.id),
    Column("port", "Frontend Protocol/Port", lambda li: (li.protocol_port, li.protocol)),
    Column("certificate", "Server Certificate", None, low=True),
    Column("sni", "SNI", lambda li: -len(li.sni_container_refs or ()), low=True),
    Column("policy", "Security Policy", lambda li: li.tls_ciphers_policy or "", low=True),
    Column("status", "Status", None),
    Column("operation", "Operation", None),
)
POLICY_COLUMNS: Final = (
    Column("listener", "Listener", lambda row: row.listener),
    Column("name", "Name", lambda row: row.policy.name or row.policy.id),
    Column("requests", "Requests whose", lambda row: row.conditions),
    Column("target", "Are", lambda row: row.target),
)
COLUMNS: Final = (
    Column("name", "Name", lambda r: r.balancer.name or r.balancer.id),
    Column("address", "Private IPv4 Address", lambda r: r.balancer.vip_address or ""),
    Column("type", "Type", lambda r: not r.balancer.guaranteed),
    Column("listeners", "Listeners", lambda r: -len(r.listeners)),
    Column("ingresses", "Ingresses", lambda r: -r.ingresses),
)


class PolicyRow(NamedTuple):
    """One forwarding policy, in words."""

    policy: Policy
    listener: str
    conditions: str
    target: str


async def show(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET /clusters/{cluster}/elb/loadbalancers."""
    by_balancer: dict[str, list[Listener]] = {}
    for listener in cluster.elb.state.listeners.values():
        by_balancer.setdefault(listener.loadbalancer_id, []).append(listener)
    ingresses: dict[str, int] = {}
    for status in cluster.derived.translation.status.values():
        ingresses[status.loadbalancer] = ingresses.get(status.loadbalancer, 0) + 1
    rows = [
        LoadBalancerRow(
            balancer=b, listeners=tuple(_sorted(by_balancer.get(b.id, []))), ingresses=ingresses.get(b.id, 0)
        )
        for b in sorted(cluster.elb.state.loadbalancers.values(), key=lambda b: (b.name, b.id))
    ]
    listing = TablePage(rows, COLUMNS, request.query, lambda row: row.text, "load balancer")
    return request.render("elb/load_balancers.html", listing=listing, live=f"/live/{cluster.name}")


async def one(request: PageRequest, cluster: ClusterContext) -> Response:
    """GET …/{id}?tab=."""
    state = cluster.elb.state
    balancer = state.loadbalancers.get(request.part("id"))
    tab = request.query.get("tab", "summary")
    if balancer is None or tab not in TABS:
        where = path("clusters", cluster.name, "elb", "loadbalancers")
        raise not_found(f"load balancer {request.part('id')}", (where, "Load Balancers"))
    listeners = _sorted(li for li in state.listeners.values() if li.loadbalancer_id == balancer.id)
    listing: TablePage[Any] | None = None
    rows: list[ListenerRow] = []
    if tab == "listeners":
        listing = TablePage(
            listeners, LISTENER_COLUMNS, request.query, lambda li: f"{li.name} {li.id} {li.protocol_port}", "listener"
        )
        rows = list(listing.derive(lambda listener: (listener.id, listener_row(cluster, listener))).values())
    elif tab == "policies":
        listing = TablePage(_policies(listeners, state), POLICY_COLUMNS, request.query, _text, "forwarding policy")
    elif tab == "status":
        tree = await _statuses(cluster, balancer)
        listing = TablePage(_worst_first(tree.get("listeners") or ()), (), request.query, _name, "listener")
    return request.render(
        "elb/load_balancer.html",
        balancer=balancer,
        tab=tab,
        count=len(listeners),
        listing=listing,
        listeners=rows,
        tree=tree if tab == "status" else None,
        state=state,
        live=f"/live/{cluster.name}",
    )


def listener_row(cluster: ClusterContext, listener: Listener) -> ListenerRow:
    """Return the row of a listener."""
    uses = tuple(use for use in cluster.derived.uses if use.listener == listener.id)
    hosts = cluster.derived.hosts_by_listener.get(listener.id, ())
    balancer = cluster.elb.state.loadbalancers[listener.loadbalancer_id]
    return ListenerRow(
        listener=listener,
        port=bind_port(balancer, listener.protocol_port),
        owner=next((use.governing for use in uses if use.governing), None) or _owner(cluster, listener),
        ours="cluster_id" in described(listener.description),
        uses=uses,
        state=served_badge(cluster.probed(hosts, 1)) if hosts else None,
    )


def conditions(policy: Policy) -> str:
    """Return the rules of a policy in words."""
    return " and ".join(_rule(rule) for rule in policy.rules) or "every request"


def target(policy: Policy, state: State) -> str:
    """Return the target of a policy in words."""
    if policy.action == "REDIRECT_TO_LISTENER":
        listener = state.listeners.get(policy.redirect_listener_id or "")
        return f"redirected to port {listener.protocol_port}" if listener else "redirected to a listener"
    if policy.action == "REDIRECT_TO_URL":
        url = policy.redirect_url_config
        return f"redirected to {url.protocol}://{url.host}:{url.port}{url.path}" if url else "redirected"
    if policy.action == "FIXED_RESPONSE":
        fixed = policy.fixed_response_config
        return f"answered with {fixed.status_code}" if fixed else "answered"
    shares = [s.pool_id for s in policy.redirect_pools_config or ()] or [policy.redirect_pool_id or ""]
    pools = [state.pools.get(ref) for ref in shares]
    return (
        ", ".join(f"{p.name} ({len(p.members)} member{'' if len(p.members) == 1 else 's'})" for p in pools if p)
        or "no backend server group"
    )


def _rule(rule: Rule) -> str:
    word = {"EQUAL_TO": "is", "STARTS_WITH": "begins with", "REGEX": "matches"}.get(rule.compare_type, "is")
    values = [f"{c.key} = {c.value}" if c.key else c.value for c in rule.conditions] or [rule.value]
    what = {"HOST_NAME": "domain name", "PATH": "path"}.get(rule.type, rule.type.lower().replace("_", " "))
    return f"{what} {word} {' or '.join(values)}"


def _owner(cluster: ClusterContext, listener: Listener) -> Name | None:
    if not is_of(cluster.kube.cluster_id or "", listener.description):
        return None
    for status in cluster.derived.translation.status.values():
        if status.loadbalancer == listener.loadbalancer_id and any(
            p == listener.protocol_port for p, _ in status.ports
        ):
            return status.listener_owner
    return None


def _policies(listeners: Iterable[Listener], state: State) -> list[PolicyRow]:
    names = {li.id: li.name or li.id for li in listeners}
    policies = (p for p in state.policies.values() if p.listener_id in names)
    ordered = sorted(policies, key=lambda p: (names[p.listener_id], p.priority or 0, p.name or "", p.id))
    return [PolicyRow(p, names[p.listener_id], conditions(p), target(p, state)) for p in ordered]


def _text(row: PolicyRow) -> str:
    return f"{row.listener} {row.policy.name or row.policy.id} {row.conditions} {row.target}"


async def _statuses(cluster: ClusterContext, balancer: LoadBalancer) -> Mapping[str, Any]:
    answer = await cluster.elb.client.get(Resource("loadbalancers", "statuses", ""), f"{balancer.id}/statuses")
    tree: Mapping[str, Any] = answer.get("loadbalancer") or {}
    return tree


def _worst_first(nodes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sort nodes of the status tree and those under them, by severity and name."""
    sorted_ = [{k: _worst_first(v) if k in ("pools", "l7policies") else v for k, v in node.items()} for node in nodes]
    return sorted(sorted_, key=lambda node: (SEVERITY.get(node.get("operating_status", ""), 3), _name(node)))


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("name") or node["id"])


def _sorted(listeners: Any) -> list[Listener]:
    return sorted(listeners, key=lambda li: (li.protocol_port, li.id))


_ROOT: Final = "/elb/loadbalancers"
PAGES: Final[tuple[Page, ...]] = (cluster_page(_ROOT, show), cluster_page(f"{_ROOT}/{{id}}", one))
