"""The vendor's two Python clients behind one interface, so that one scenario drives both.

Nothing of them is replaced or patched: what is here only picks their method by the kind's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import openstack
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkelb import v3
from otcextensions import sdk

from tests.elb.support.server import Elb

Fields = Mapping[str, Any]


class Refusal(Exception):
    """What a client raised: the status and the vendor's code (None where the client hides it)."""

    def __init__(self, status: int, code: str | None) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


class Names(NamedTuple):
    """What the clients call a kind."""

    kind: str
    huawei: str
    otc: str
    parent: str = ""
    """The kind it is part of."""
    option: str = ""

    @property
    def plural(self) -> str:
        return self.kind.removesuffix("y") + "ies" if self.kind.endswith("y") else self.kind + "s"


KINDS = {
    names.kind: names
    for names in (
        Names("loadbalancer", "LoadBalancer", "load_balancer"),
        Names("certificate", "Certificate", "certificate"),
        Names("ipgroup", "IpGroup", "ip_address_group"),
        Names("security_policy", "SecurityPolicy", "security_policy"),
        Names("listener", "Listener", "listener"),
        Names("pool", "Pool", "pool"),
        Names("member", "Member", "member", "pool"),
        Names("healthmonitor", "HealthMonitor", "health_monitor"),
        Names("l7policy", "L7Policy", "l7_policy"),
        Names("rule", "L7Rule", "l7_rule", "l7policy", "Rule"),
    )
}


class Client(Protocol):
    """One of them. `within`: the id of what it is part of, or ""."""

    def create(self, kind: str, fields: Fields, within: str = "") -> dict[str, Any]: ...
    def show(self, kind: str, identifier: str, within: str = "") -> dict[str, Any]: ...
    def update(self, kind: str, identifier: str, fields: Fields, within: str = "") -> dict[str, Any]: ...
    def delete(self, kind: str, identifier: str, within: str = "") -> None: ...
    def ids(self, kind: str, query: Fields, within: str = "") -> list[str]: ...
    def pages(self, kind: str, limit: int, within: str = "") -> Iterator[str]: ...


class Huawei:
    """``huaweicloudsdkelb``: signs each request; shows one page and leaves the next to its caller."""

    def __init__(self, elb: Elb) -> None:
        admin = elb.credentials.admin
        credentials = BasicCredentials(admin.access_key, admin.secret_key, elb.credentials.project_id)
        self.client: Any = v3.ElbClient.new_builder().with_credentials(credentials).with_endpoint(elb.origin).build()

    def create(self, kind: str, fields: Fields, within: str = "") -> dict[str, Any]:
        return self._one(kind, self._call("Create", kind, "", within, fields))

    def show(self, kind: str, identifier: str, within: str = "") -> dict[str, Any]:
        return self._one(kind, self._call("Show", kind, identifier, within))

    def update(self, kind: str, identifier: str, fields: Fields, within: str = "") -> dict[str, Any]:
        return self._one(kind, self._call("Update", kind, identifier, within, fields))

    def delete(self, kind: str, identifier: str, within: str = "") -> None:
        self._call("Delete", kind, identifier, within)

    def ids(self, kind: str, query: Fields, within: str = "") -> list[str]:
        return [one["id"] for one in self._page(kind, query, within)[KINDS[kind].plural]]

    def pages(self, kind: str, limit: int, within: str = "") -> Iterator[str]:
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = self._page(kind, query, within)
            yield from (one["id"] for one in page[KINDS[kind].plural])
            if not page["page_info"].get("next_marker"):
                return
            query["marker"] = page["page_info"]["next_marker"]

    def _page(self, kind: str, query: Fields, within: str) -> dict[str, Any]:
        names = KINDS[kind]
        many = names.huawei.removesuffix("y") + "ies" if names.huawei.endswith("y") else names.huawei + "s"
        request = getattr(v3, f"List{many}Request")
        known = request.openapi_types
        typed = {k: [v] if str(known.get(k)).startswith("list") else v for k, v in query.items()}
        page: dict[str, Any] = self._plain(self._method("list", many)(request(**typed, **self._parent(kind, within))))
        return page

    def _call(self, verb: str, kind: str, identifier: str, within: str, fields: Fields | None = None) -> Any:
        names = KINDS[kind]
        request = getattr(v3, f"{verb}{names.huawei}Request")
        path = {name: identifier for name in request.attribute_map if name.endswith("_id")} if identifier else {}
        path |= self._parent(kind, within)
        if fields is not None:
            option_name = f"{verb}{names.option if verb == 'Create' and names.option else names.huawei}Option"
            option = getattr(v3, option_name)(**fields)
            path["body"] = getattr(v3, f"{verb}{names.huawei}RequestBody")(option)
        return self._asked(self._method(verb.lower(), names.huawei), request(**path))

    def _method(self, verb: str, name: str) -> Callable[[Any], Any]:
        for letter in name:
            verb += ("_" if letter.isupper() else "") + letter.lower()
        return getattr(self.client, verb)  # type: ignore[no-any-return]

    def _asked(self, method: Callable[[Any], Any], request: Any) -> Any:
        try:
            return method(request)
        except ClientRequestException as refused:
            raise Refusal(refused.status_code, refused.error_code) from None

    def _parent(self, kind: str, within: str) -> dict[str, str]:
        return {f"{KINDS[kind].parent}_id": within} if within else {}

    def _one(self, kind: str, answer: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._plain(answer)[kind]
        return found

    def _plain(self, answer: Any) -> Any:
        if isinstance(answer, list):
            return [self._plain(one) for one in answer]
        if hasattr(answer, "attribute_map"):
            return {wire: self._plain(getattr(answer, name)) for name, wire in answer.attribute_map.items()}
        return answer


class Otc:
    """``otcextensions`` on openstacksdk: logs in by password; walks pages by the last id it saw."""

    def __init__(self, elb: Elb) -> None:
        connection = openstack.connect(
            auth_type="password",
            auth={
                "auth_url": f"{elb.origin}/v3",
                "username": elb.credentials.admin.username,
                "password": elb.credentials.admin.password,
                "project_name": elb.credentials.project,
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            region_name="local",
            identity_api_version="3",
            load_yaml_config=False,
            load_envvars=False,
        )
        sdk.register_otc_extensions(connection)
        self.client: Any = connection.vlb

    def create(self, kind: str, fields: Fields, within: str = "") -> dict[str, Any]:
        return self._call("create_", kind, *([within] if within else []), **fields)

    def show(self, kind: str, identifier: str, within: str = "") -> dict[str, Any]:
        return self._call("get_", kind, identifier, *([within] if within else []))

    def update(self, kind: str, identifier: str, fields: Fields, within: str = "") -> dict[str, Any]:
        if kind == "certificate" and "certificate" in fields:
            # its update_certificate(certificate, **attrs) cannot be given the field of the same name
            found = self._asked(self.client.get_certificate, identifier)
            for name, value in fields.items():
                setattr(found, name, value)
            return dict(self._asked(found.commit, self.client)._body.attributes)
        return self._call("update_", kind, identifier, *([within] if within else []), **fields)

    def delete(self, kind: str, identifier: str, within: str = "") -> None:
        self._call("delete_", kind, identifier, *([within] if within else []), ignore_missing=False)

    def ids(self, kind: str, query: Fields, within: str = "") -> list[str]:
        many = getattr(
            self.client, KINDS[kind].otc.removesuffix("y") + "ies" if kind.endswith("policy") else KINDS[kind].otc + "s"
        )
        return [one.id for one in self._asked(many, *([within] if within else []), **query)]

    def pages(self, kind: str, limit: int, within: str = "") -> Iterator[str]:
        yield from self.ids(kind, {"limit": limit}, within)

    def _call(self, verb: str, kind: str, *arguments: Any, **fields: Any) -> dict[str, Any]:
        found = self._asked(getattr(self.client, verb + KINDS[kind].otc), *arguments, **fields)
        return {} if found is None else {"id": found.id, **found._body.attributes}

    def _asked(self, method: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
        try:
            found = method(*arguments, **fields)
            return list(found) if isinstance(found, Iterator) else found
        except openstack.exceptions.HttpException as refused:
            body = refused.response.json() if refused.response is not None else {}
            raise Refusal(refused.status_code, body.get("error_code")) from None
