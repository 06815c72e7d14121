"""An ELB on loopback: stores resources, serves the listeners' certificates, fails on command."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from certferry.core.x509.pem import InvalidPem, parse_chain, parse_pair
from tests.support.certs import Pair, authority

Object = dict[str, Any]

_ONE = {
    "certificates": "certificate",
    "loadbalancers": "loadbalancer",
    "listeners": "listener",
    "pools": "pool",
    "healthmonitors": "healthmonitor",
    "l7policies": "l7policy",
    "members": "member",
    "rules": "rule",
    "ipgroups": "ipgroup",
}


class Failure(NamedTuple):
    """An answer that is no success."""

    status: int
    code: str
    headers: Mapping[str, str]


class FakeElb:
    """`writes` is every POST, PUT and DELETE; a listener is served once its port is known."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Object]] = {plural: {} for plural in _ONE}
        self.writes: list[tuple[str, str, Object]] = []
        self.writers: list[str] = []
        """The access key of each write."""
        self.failures: deque[tuple[str, str, Failure]] = deque()
        self.cut_after: deque[tuple[str, str]] = deque()
        self.requests = 0
        self.quotas: list[Object] | None = None
        self.limits: Object = {}
        self.bulk = True
        self.held: asyncio.Event | None = None
        self.stale_front = False
        self.url = ""
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._front: asyncio.Server | None = None
        self._tls: dict[str, ssl.SSLContext] = {}
        self._directory = tempfile.TemporaryDirectory()
        self.front_port = 0
        self._keys: dict[str, str] = {}
        self.extensions: tuple[str, ...] = ()
        """Those of our ELB that this one has: none, like a vendor's."""
        self.sends: Callable[[str], str] = lambda chain: chain
        """What the front makes of a chain (PEM) that is put in."""
        self.unusable: set[str] = set()
        """Fingerprints that clients cannot use: the front shows something else for them."""
        self.refusals: list[tuple[str, str, int, str, str]] = []
        """(method, part of the path, status, code, message): every such request is refused."""
        self.refused_contents: dict[str, str] = {}
        """Why a certificate is refused, by a part of its name."""
        self.rejected = ""
        """What the data plane says of every certificate; empty: it takes them."""
        self._contents: dict[str, list[Pair]] = {}

    def balancer(self, name: str = "lb", address: str = "127.0.0.1") -> str:
        """A load balancer whose port 443 is bound where the front listens."""
        ref = str(uuid.uuid4())
        self.objects["loadbalancers"][ref] = {
            "id": ref,
            "name": name,
            "description": "",
            "vip_address": address,
            "guaranteed": True,
            "certferry": {"privileged_shift": self.front_port - 443, "port_shift": 0},
        }
        return ref

    def certificate(self, certificate: str, key: str, name: str = "", domain: str = "") -> str:
        """Create a certificate as another client would."""
        ref = uuid.uuid4().hex
        body = {"certificate": certificate, "private_key": key, "name": name, "domain": domain}
        self._store("certificates", ref, body)
        return ref

    def replace(self, ref: str, certificate: str, key: str) -> None:
        """Replace the content of a certificate as another client would."""
        self._store("certificates", ref, {"certificate": certificate, "private_key": key})

    def forget(self, ref: str) -> None:
        """A certificate is gone, as if it had never been bound."""
        del self.objects["certificates"][ref]

    def fail(
        self,
        method: str,
        part: str,
        status: int,
        code: str = "ELB.8906",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The next such request is answered so."""
        self.failures.append((method, part, Failure(status, code, headers)))

    def cut(self, method: str, part: str) -> None:
        """The next such request is carried out, and its answer lost."""
        self.cut_after.append((method, part))

    def made(self, plural: str) -> list[Object]:
        return list(self.objects[plural].values())

    def count(self, method: str, part: str = "") -> int:
        return sum(1 for m, p, _ in self.writes if m == method and part in p)

    async def start(self) -> None:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/v3/{project}/elb/{path:.*}", self._serve)
        app.router.add_get("/v3/certferry", self._offered)
        app.router.add_route("*", "/v3/{project}/certferry/certificates/{ref}/{what}", self._extended)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        assert site._server is not None
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._port}"
        if self._front is None:
            await self.open_front()

    async def stop(self) -> None:
        """The API alone: the front goes on, as Envoy does."""
        if self._runner:
            await self._runner.cleanup()

    async def close(self) -> None:
        await self.stop()
        if self._front:
            self._front.close()
        self._directory.cleanup()

    # the front: what clients see

    def show(self, ref: str, pair: Pair) -> None:
        """The front shows `pair` for certificate `ref`, whatever the API says."""
        self._load(ref, pair.certificate, pair.key)

    async def close_front(self) -> None:
        assert self._front is not None
        self._front.close()
        await self._front.wait_closed()

    async def open_front(self) -> None:
        """At first, and where it was."""
        base = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        base.sni_callback = self._choose

        async def bye(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        self._front = await asyncio.start_server(bye, "127.0.0.1", self.front_port, ssl=base)
        self.front_port = self._front.sockets[0].getsockname()[1]

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        certificates = self.objects["certificates"]

        def has(ref: str | None) -> bool:
            return name in (certificates.get(ref or "", {}).get("domain") or "").split(",")

        found = [
            [*(it.get("sni_container_refs") or ()), it.get("default_tls_container_ref")]
            for it in self.objects["listeners"].values()
        ]
        # one front for all listeners: the one that has the name is meant
        for refs in sorted(found, key=lambda refs: not any(map(has, refs))):
            named = [r for r in refs[:-1] if has(r)]
            context = self._tls.get((named or [refs[-1]])[0] or "")
            if context:
                connection.context = context
                return None
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    # the extensions

    async def _offered(self, _: web.Request) -> web.Response:
        if not self.extensions:
            return _error(404, "APIGW.0101", "The API does not exist")
        return _json({"certferry": {"version": "0", "extensions": list(self.extensions)}})

    async def _extended(self, request: web.Request) -> web.Response:
        ref, what = request.match_info["ref"], request.match_info["what"]
        kept = self._contents[ref]
        if what == "status":
            return _json({"status": self._status(ref)})
        if what == "versions":
            return _json({"versions": [_version(n, kept) for n in range(len(kept), 0, -1)]})
        body = msgspec.json.decode(await request.read())
        self.writes.append(("POST", f"certificates/{ref}/{what}", body))
        pair = kept[int(body["version"]) - 1]
        self._store("certificates", ref, {"certificate": pair.certificate, "private_key": pair.key})
        return _json({"certificate": self._view("certificates", ref)})

    def _status(self, ref: str) -> Object:
        slots = [
            {
                "listener_id": listener["id"],
                "loadbalancer_id": listener["loadbalancers"][0]["id"],
                "seat": "default",
                "state": "rejected" if self.rejected else "accepted",
                "message": self.rejected,
            }
            for listener in self.objects["listeners"].values()
        ]
        chain = parse_chain(self.objects["certificates"][ref]["certificate"])
        return {"certificate_id": ref, "fingerprint": chain.fingerprint, "listeners": slots}

    # the API

    async def _serve(self, request: web.Request) -> web.Response:
        self.requests += 1
        if not request.headers.get("Authorization", "").startswith("SDK-HMAC-SHA256 Access="):
            return _error(401, "SYS.0401", "no signature")
        parts = request.match_info["path"].split("/")
        path = "/".join(parts)
        body = msgspec.json.decode(await request.read()) if request.can_read_body else {}
        for failure in self.failures:
            if failure[0] == request.method and failure[1] in path:
                self.failures.remove(failure)
                # a server that is careless: our client must not pass this on
                key = str(body.get("certificate", {}).get("private_key", ""))
                told = failure[2]
                return _error(told.status, told.code, f"told to fail {key}", told.headers)
        for method, part, status, code, message in self.refusals:
            if method == request.method and part in path:
                return _error(status, code, message)
        if request.method != "GET":
            self.writes.append((request.method, path, body))
            self.writers.append(request.headers["Authorization"].partition("Access=")[2].partition(",")[0])
            if self.held is not None:
                await self.held.wait()
        response = self._answer(request, parts, body)
        for cut in self.cut_after:
            if cut[0] == request.method and cut[1] in path:
                self.cut_after.remove(cut)
                assert request.transport is not None
                request.transport.abort()
        return response

    def _answer(self, request: web.Request, parts: list[str], body: Object) -> web.Response:
        if request.method == "GET" and path_is_bulk(parts) and not self.bulk:
            return _error(404, "ELB.8904", "no such thing")
        if parts == ["quotas"]:
            return _json({"quota": self.limits}) if self.limits else _error(404, "ELB.8904", "no such thing")
        if parts == ["quotas", "details"]:
            if self.quotas is None:
                return _error(404, "ELB.8904", "no such thing")
            return _json({"quotas": self.quotas})
        plural, owner, ref = _locate(parts)
        if request.method == "GET":
            return self._read(request, plural, owner, ref)
        one = _ONE[plural]
        if request.method == "POST":
            ref = uuid.uuid4().hex if plural == "certificates" else str(uuid.uuid4())
            fields = dict(body[one]) | ({"owner": owner} if owner else {})
            if plural == "healthmonitors":
                self.objects["pools"][fields["pool_id"]]["healthmonitor_id"] = ref
            if plural == "l7policies":
                fields["rules"] = [self._rule(ref, r) for r in fields.get("rules", ())]
        elif ref not in self.objects[plural]:
            return _error(404, "ELB.8904", f"{one} {ref} could not be found")
        elif request.method == "DELETE":
            return self._delete(plural, ref)
        else:
            fields = dict(body[one])
        named = {**self.objects[plural].get(ref, {}), **fields}.get("name", "")
        for part, why in self.refused_contents.items():
            if plural == "certificates" and part in named and "certificate" in fields:
                return _error(400, "ELB.8902", why)
        try:
            self._store(plural, ref, fields)
        except InvalidPem as defect:
            return _error(400, "ELB.1011", defect.sentence)
        return _json({one: self._view(plural, ref)}, 201 if request.method == "POST" else 200)

    def _store(self, plural: str, ref: str, fields: Object) -> None:
        if plural == "certificates" and "certificate" in fields:
            pair = parse_pair(fields["certificate"], fields["private_key"])
            if not self.stale_front or ref not in self._tls:
                shown = Pair(pair.chain.pem, pair.key.reveal())
                if pair.chain.fingerprint in self.unusable:
                    shown = authority().issue("somebody.example.net")
                self._load(ref, shown.certificate, shown.key)
            self._contents.setdefault(ref, []).append(Pair(pair.chain.pem, pair.key.reveal()))
            fields = {**fields, "certificate": pair.chain.pem, "private_key": "******"}
        if plural == "listeners" and "loadbalancer_id" in fields:
            fields["loadbalancers"] = [{"id": fields.pop("loadbalancer_id")}]
        if plural == "pools" and "loadbalancer_id" in fields:
            fields["loadbalancers"] = [{"id": fields.pop("loadbalancer_id")}]
        self.objects[plural].setdefault(ref, {"id": ref}).update(fields)

    def _load(self, ref: str, chain: str, key: str) -> None:
        file = Path(self._directory.name) / "pair.pem"
        file.write_text(self.sends(chain) + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        self._tls[ref] = context

    def _rule(self, policy: str, rule: Object) -> Object:
        ref = str(uuid.uuid4())
        self.objects["rules"][ref] = {**rule, "id": ref, "owner": policy}
        return {"id": ref}

    def _delete(self, plural: str, ref: str) -> web.Response:
        used = any(
            ref == value or (isinstance(value, list) and ref in value)
            for p in ("listeners", "l7policies")
            for o in self.objects[p].values()
            for k, value in o.items()
            if k != "id"
        )
        if used:
            return _error(409, "ELB.8907", "it is in use")
        gone = self.objects[plural].pop(ref)
        if plural == "healthmonitors":
            self.objects["pools"][gone["pool_id"]]["healthmonitor_id"] = None
        if plural == "pools":
            self.objects["members"] = {k: m for k, m in self.objects["members"].items() if m["owner"] != ref}
        return web.Response(status=204)

    def _read(self, request: web.Request, plural: str, owner: str, ref: str) -> web.Response:
        if ref:
            if ref not in self.objects[plural]:
                return _error(404, "ELB.8904", "not found")
            return _json({_ONE[plural]: self._view(plural, ref)})
        limit, marker = int(request.query.get("limit", "2000")), request.query.get("marker", "")
        ids = [i for i, o in sorted(self.objects[plural].items()) if not owner or o.get("owner") == owner]
        ids = [i for i in ids if i > marker]
        page = ids[:limit]
        info: Object = {"current_count": len(page)}
        if len(ids) > limit:
            info["next_marker"] = page[-1]
        return _json({plural: [self._view(plural, i) for i in page], "page_info": info, "request_id": "r"})

    def _view(self, plural: str, ref: str) -> Object:
        item = {k: v for k, v in self.objects[plural][ref].items() if k != "owner"}
        if plural == "pools":
            item["members"] = [{"id": i} for i, m in self.objects["members"].items() if m["owner"] == ref]
        if plural == "certificates":
            item.setdefault("domain", "")
            item["type"] = "server"
        return item


def path_is_bulk(parts: list[str]) -> bool:
    return parts in (["members"], ["l7policies", "rules"])


def _version(number: int, kept: list[Pair]) -> Object:
    chain = parse_chain(kept[number - 1].certificate)
    return {
        "number": number,
        "current": number == len(kept),
        "fingerprint": chain.fingerprint,
        "digest": chain.digest,
        "spki": chain.spki,
        "not_before": chain.not_before.isoformat(),
        "not_after": chain.not_after.isoformat(),
        "domains": list(chain.names),
        "created_at": chain.not_before.isoformat(),
        "user": "controller",
        "via": "put",
        "request_id": "r",
    }


def _locate(parts: list[str]) -> tuple[str, str, str]:
    """(collection, id of what it belongs to, id)."""
    if path_is_bulk(parts):
        return parts[-1], "", ""
    if len(parts) > 2:
        return parts[2], parts[1], parts[3] if len(parts) > 3 else ""
    return parts[0], "", parts[1] if len(parts) > 1 else ""


def _json(body: Object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return _json({"error_code": code, "error_msg": message, "request_id": "r"}, status, headers)
