"""Small worlds for the tests of the core: clusters from YAML, and an ELB that carries out steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import (
    BreakGlass,
    Certificate,
    HealthMonitor,
    Listener,
    LoadBalancer,
    Member,
    Policy,
    Pool,
    Source,
    State,
    domain_names,
)
from certferry.core.model.kubernetes import (
    ClusterView,
    EndpointSlice,
    Name,
    Secret,
    SecretProblem,
    parse_class,
    parse_ingress,
    parse_meta,
    parse_node,
    parse_service,
    parse_slice,
)
from certferry.core.model.managers import Manager
from certferry.core.plan.plan import Step
from certferry.core.translate.certificate_slots import kind_of
from certferry.core.x509.chain import Purpose
from certferry.core.x509.pem import Chain

CLUSTER = "c1u5te12-0000-0000-0000-000000000000"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BALANCER = LoadBalancer(id="lb-1", name="edge", vip_address="127.0.0.10")


def chain(name: str, **facts: Any) -> Chain:
    """A chain that is only facts; `name` stands for its content. Good until given otherwise."""
    names_ = tuple(facts.pop("names", ("shop.example.com",)))
    given: dict[str, Any] = {
        "not_before": datetime(2026, 11, 1, tzinfo=UTC),
        "not_after": datetime(2027, 2, 1, tzinfo=UTC),
        "key": "P-256",
        "spki": name,
        "issuer": "CN=CA",
        "purpose": Purpose(public=facts.pop("public", False)),
        **facts,
    }
    return Chain(
        pem=f"<pem of {name}>",
        digest=name,
        fingerprint=name,
        names=names_,
        sans=names_,
        common_name=names_[0] if names_ else "",
        subject="CN=" + (names_[0] if names_ else ""),
        serial="1",
        length=1,
        self_signed=False,
        **given,
    )


def view(given: Mapping[str, Any]) -> ClusterView:
    """A cluster from YAML: `objects` are manifests, `secrets` are facts of certificates by name."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for number, manifest in enumerate(given.get("objects") or ()):
        meta = manifest.setdefault("metadata", {})
        meta.setdefault("namespace", "shop")
        meta.setdefault("uid", f"uid-{meta['name']}")
        meta.setdefault("creationTimestamp", f"2026-01-01T00:00:{number:02d}+00:00")
        by_kind.setdefault(manifest["kind"], []).append(manifest)
    slices: dict[Name, list[EndpointSlice]] = {}
    for piece in map(parse_slice, by_kind.get("EndpointSlice", ())):
        slices.setdefault(Name(piece.meta.namespace, piece.service), []).append(piece)
    ingresses = map(parse_ingress, by_kind.get("Ingress", ()))
    services = map(parse_service, by_kind.get("Service", ()))
    classes = map(parse_class, by_kind.get("IngressClass", ()))
    return ClusterView(
        cluster_id=CLUSTER,
        ingresses={i.meta.key: i for i in ingresses},
        services={s.meta.key: s for s in services},
        slices={name: tuple(found) for name, found in slices.items()},
        secrets=secrets(given.get("secrets") or {}),
        classes={c.name: c for c in classes},
        nodes={n.name: n for n in map(parse_node, by_kind["Node"])} if "Node" in by_kind else None,
    )


def secrets(given: Mapping[str, Any]) -> dict[Name, Secret]:
    """Secrets by ``namespace/name`` (namespace shop by default): facts of a chain, or a flaw; and their manager."""
    result = {}
    for full, facts in given.items():
        namespace, _, name = full.rpartition("/")
        facts = dict(facts or {})
        uid = facts.pop("uid", f"uid-{name}")
        meta = parse_meta({"metadata": {"namespace": namespace or "shop", "name": name, "uid": uid}})
        kind = facts.pop("type", "kubernetes.io/tls")
        by = Manager(**facts.pop("manager"), sentence="") if "manager" in facts else None
        if flaw := facts.pop("flaw", None):
            held = Secret(meta=meta, type=kind, flaw=SecretProblem(reason="KeyMismatch", sentence=flaw))
        else:
            held = Secret(meta=meta, type=kind, manager=by, chain=chain(facts.pop("content", name), **facts))
        result[meta.key] = held
    return result


def observed(given: Mapping[str, Any]) -> State:
    """An ELB from YAML: `certificates` by id, `listeners` by id.

    Of a certificate `secret_id` makes it ours, `foreign_secret` another cluster's, `clusterless_secret`
    one whose description names no cluster, `emergency` an admin's content, until the end in `break_glass`.
    """
    certificates = {}
    for ref, facts in (given.get("certificates") or {}).items():
        facts = dict(facts)
        description = names.describe(CLUSTER, secret_id=facts.pop("secret_id")) if "secret_id" in facts else ""
        if "foreign_secret" in facts:
            description = names.describe("another-cluster", secret_id=facts.pop("foreign_secret"))
        if "clusterless_secret" in facts:
            description = json.dumps({"secret_id": facts.pop("clusterless_secret")})
        certificates[ref] = Certificate(
            id=ref,
            type=facts.pop("type", "server"),
            name=facts.pop("name", ref),
            description=description,
            domain=tuple(facts.pop("domain", ())),
            emergency=facts.pop("emergency", False),
            break_glass=BreakGlass(**facts.pop("break_glass")) if "break_glass" in facts else None,
            chain=chain(facts.pop("content", ref), **facts),
        )
    listeners = {}
    for ref, facts in (given.get("listeners") or {}).items():
        facts = dict(facts)
        own = names.describe(CLUSTER) if facts.pop("ours", True) else "made by hand"
        listeners[ref] = msgspec.convert(
            {"id": ref, "loadbalancer_id": BALANCER.id, "description": own, **facts}, Listener
        )
    others = {
        ref: msgspec.convert({"id": ref, **facts}, LoadBalancer)
        for ref, facts in (given.get("loadbalancers") or {}).items()
    }
    return State(
        loadbalancers={BALANCER.id: BALANCER, **others},
        certificates=certificates,
        listeners=listeners,
        ipgroups={ref: tuple(ips) for ref, ips in (given.get("ipgroups") or {}).items()},
    )


def tampered(state: State, changes: Iterable[Mapping[str, Any]]) -> State:
    """Return `state` after changes of another client: `part` and `name` select an object; `set`, `delete` or `add` it."""
    for change in changes:
        content = dict(getattr(state, change["part"]))
        if "add" in change:
            added = {"id": change["name"], "name": change["name"], **change["add"]}
            if "listener_id" in added:
                added["listener_id"] = next(i for i, it in state.listeners.items() if it.name == added["listener_id"])
            content[change["name"]] = msgspec.convert(added, Policy)
        else:
            (ref,) = [i for i, it in content.items() if it.name.startswith(change["name"])]
            if change.get("delete"):
                del content[ref]
            else:
                content[ref] = _changed(content[ref], change["set"])
            if change.get("delete") and change["part"] == "listeners":
                policies = {k: p for k, p in state.policies.items() if p.listener_id != ref}
                state = msgspec.structs.replace(state, policies=policies)
        state = msgspec.structs.replace(state, **{change["part"]: content})
    return state


class Elb:
    """Carries out steps on a State as an ELB would, and refuses what an ELB refuses."""

    def __init__(self, state: State, chains: Iterable[Chain] = ()) -> None:
        self.state = state
        self.chains = {c.digest: c for c in chains}
        self.ids: dict[str, str] = {}
        self._next = 0

    def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.apply(step)

    def apply(self, step: Step) -> None:
        """One step; references to what this run made are resolved."""
        getattr(self, f"_{step.kind}")(step, self._resolve(dict(step.fields)))

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, str):
            found = self.ids.get(value, value)
            assert not found.startswith("@"), f"{found} is not made yet"
            return found
        if isinstance(value, list):
            return [self._resolve(v) for v in value]
        if isinstance(value, dict):
            return {k: self._resolve(v) for k, v in value.items()}
        return value

    def _gone(self, step: Step) -> str:
        return step.id or self.ids[step.key]

    def _new(self, step: Step) -> str:
        self._next += 1
        self.ids[step.key] = f"{step.kind}-{self._next}"
        return self.ids[step.key]

    def _put(self, part: str, key: str, value: Any) -> None:
        content = dict(getattr(self.state, part))
        if value is None:
            del content[key]
        else:
            content[key] = value
        self.state = msgspec.structs.replace(self.state, **{part: content})

    def _loadbalancer(self, step: Step, fields: dict[str, Any]) -> None:
        if step.verb == "delete":
            assert not any(x.loadbalancer_id == step.id for x in self.state.listeners.values())
            self._put("loadbalancers", step.id or "", None)
        else:
            ref = self._new(step)
            self._put("loadbalancers", ref, _made(ref, fields))

    def _certificate(self, step: Step, fields: dict[str, Any]) -> None:
        if step.verb == "delete":
            for it in self.state.listeners.values():
                assert self._gone(step) not in (it.default_tls_container_ref, *(it.sni_container_refs or ())), "in use"
            self._put("certificates", self._gone(step), None)
            return
        changes: dict[str, Any] = {k: v for k, v in fields.items() if k in ("name", "description")}
        if "domain" in fields:
            changes["domain"] = domain_names(fields["domain"])
        if "certferry" in fields:
            changes["source"] = Source(**fields["certferry"]["source"])
        if step.material:
            changes["chain"] = self.chains[step.material]
        if step.verb == "create":
            ref = self._new(step)
            self._put("certificates", ref, Certificate(id=ref, **changes))
        else:
            have = self.state.certificates[step.id or ""]
            self._put("certificates", have.id, msgspec.structs.replace(have, **changes))
        self._names_are_unique()

    def _pool(self, step: Step, fields: dict[str, Any]) -> None:
        if step.verb == "delete":
            assert not self.state.pools[step.id or ""].members, "members first"
            assert not self.state.pools[step.id or ""].healthmonitor, "its health monitor first"
            assert step.id not in {p.redirect_pool_id for p in self.state.policies.values()}, "in use"
            assert step.id not in {x.default_pool_id for x in self.state.listeners.values()}, "in use"
            self._put("pools", step.id or "", None)
        elif step.verb == "create":
            ref = self._new(step)
            self._put("pools", ref, msgspec.convert({"id": ref, **_given(fields)}, Pool))
        else:
            have = self.state.pools[step.id or ""]
            self._put("pools", have.id, _changed(have, fields))

    def _healthmonitor(self, step: Step, fields: dict[str, Any]) -> None:
        pools = {p.healthmonitor.id: p for p in self.state.pools.values() if p.healthmonitor}
        if step.verb == "create":
            pool, ref = self.state.pools[fields.pop("pool_id")], self._new(step)
            assert pool.healthmonitor is None, "one per pool"
            after: HealthMonitor | None = msgspec.convert({"id": ref, **fields}, HealthMonitor)
        else:
            pool = pools[step.id or ""]
            assert pool.healthmonitor
            after = _changed(pool.healthmonitor, fields) if step.verb == "update" else None
        self._put("pools", pool.id, msgspec.structs.replace(pool, healthmonitor=after))

    def _member(self, step: Step, fields: dict[str, Any]) -> None:
        pool = self.state.pools[self._resolve(step.parent)]
        members = {m.id: m for m in pool.members}
        if step.verb == "delete":
            del members[step.id or ""]
        elif step.verb == "create":
            ref = self._new(step)
            members[ref] = Member(id=ref, **fields)
        else:
            members[step.id or ""] = msgspec.structs.replace(members[step.id or ""], **fields)
        self._put("pools", pool.id, msgspec.structs.replace(pool, members=tuple(members.values())))

    def _listener(self, step: Step, fields: dict[str, Any]) -> None:
        if "sni_container_refs" in fields:
            fields["sni_container_refs"] = tuple(fields["sni_container_refs"])
        for ref in (fields.get("default_tls_container_ref"), *fields.get("sni_container_refs", ())):
            assert ref is None or ref in self.state.certificates, f"no certificate {ref}"
        if step.verb == "delete":
            assert not any(p.listener_id == step.id for p in self.state.policies.values()), "policies first"
            pool = self.state.pools.get(self.state.listeners[step.id or ""].default_pool_id or "")
            assert not (pool and pool.members), "its default pool has members"
            self._put("listeners", step.id or "", None)
        elif step.verb == "create":
            if fields["protocol"] == "HTTPS":
                assert fields.get("default_tls_container_ref"), "HTTPS needs a certificate"
            ref = self._new(step)
            self._put("listeners", ref, msgspec.convert({"id": ref, **_given(fields)}, Listener))
        else:
            have = self.state.listeners[step.id or ""]
            self._put("listeners", have.id, _changed(have, fields))
        self._names_are_unique()

    def _names_are_unique(self) -> None:
        """An ELB refuses a name that two SNI certificates (of one kind) of a listener have."""
        for listener in self.state.listeners.values():
            bound = [self.state.certificates[ref] for ref in listener.sni_container_refs or ()]
            claims = [(kind_of(c), name) for c in bound for name in c.domain]
            assert len(claims) == len(set(claims)), f"two SNI certificates with one name: {claims}"

    def _policy(self, step: Step, fields: dict[str, Any]) -> None:
        if step.verb == "delete":
            self._put("policies", step.id or "", None)
            return
        if step.verb == "create":
            ref = self._new(step)
            policy = msgspec.convert({"id": ref, **_given(fields)}, Policy)
        else:
            policy = _changed(self.state.policies[step.id or ""], fields)
        listener = self.state.listeners[policy.listener_id]
        if policy.action != "REDIRECT_TO_LISTENER":
            assert (policy.priority is not None) == bool(listener.enhance_l7policy_enable), "numbers"
        others = [
            p.priority
            for p in self.state.policies.values()
            if p.listener_id == policy.listener_id and p.id != policy.id
        ]
        assert policy.priority is None or policy.priority not in others, "one number, one policy"
        self._put("policies", policy.id, policy)


def _made(ref: str, fields: Mapping[str, Any]) -> LoadBalancer:
    return msgspec.convert({"id": ref, "vip_address": "127.0.0.99", **fields}, LoadBalancer)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}


def _changed(have: Any, fields: Mapping[str, Any]) -> Any:
    """`have` with `fields` as a PUT sets them: null is none."""
    kept = {f: getattr(have, f) for f in have.__struct_fields__ if f not in fields}
    return msgspec.convert({**msgspec.to_builtins(kept), **_given(fields)}, type(have))
