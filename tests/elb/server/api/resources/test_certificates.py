from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from certferry.core.x509.pem import parse_chain
from certferry.settings import ElbLimits
from tests.elb.support.server import Api, Elb, serving, settings_in, stored
from tests.support.certs import Pair, authority, rsa_key


def content(pair: Pair) -> dict[str, str]:
    return {"certificate": pair.certificate, "private_key": pair.key}


def bound(api: Api, certificate: dict[str, Any], *sni: dict[str, Any]) -> dict[str, Any]:
    loadbalancer = api.make("loadbalancer")
    return api.make(
        "listener",
        loadbalancer_id=loadbalancer["id"],
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref=certificate["id"],
        sni_container_refs=[one["id"] for one in sni],
    )


def test_a_certificate_is_created_updated_and_deleted(api: Api) -> None:
    pair = authority().issue("a.example", "b.example", chain=True)
    made = api.make("certificate", name="n", domain="a.example,b.example", **content(pair))
    chain = parse_chain(pair.certificate)

    assert len(made["id"]) == 32
    assert made["certificate"] == pair.certificate
    assert (made["type"], made["project_id"], made["admin_state_up"]) == ("server", api.project_id, True)
    assert made["subject_alternative_names"] == ["a.example", "b.example"]
    assert (made["fingerprint"], made["common_name"]) == (chain.fingerprint, "a.example")
    assert made["expire_time"] == chain.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert made["certferry"]["digest"] == chain.digest
    assert made["certferry"]["owner"] is None
    assert api.show("certificate", made["id"]) == made

    renewed = authority().issue("a.example")
    reply = api("PUT", f"/certificates/{made['id']}", {"certificate": content(renewed)})
    assert reply.status == 200
    assert reply.body["certificate"]["id"] == made["id"]
    assert reply.body["certificate"]["certificate"] == renewed.certificate
    assert reply.body["certificate"]["name"] == "n", "what is not given stays"

    assert api("DELETE", f"/certificates/{made['id']}").status == 204
    assert api("GET", f"/certificates/{made['id']}").code == "ELB.8904"
    assert api("DELETE", f"/certificates/{made['id']}").status == 404


def test_a_key_comes_back_as_asterisks_and_asterisks_leave_it(api: Api) -> None:
    pair = authority().issue("a.example")
    made = api.make("certificate", **content(pair))
    assert made["private_key"] == "******"
    same_key = made | {"name": "new"}
    reply = api("PUT", f"/certificates/{made['id']}", {"certificate": same_key})
    assert (reply.status, reply.body["certificate"]["name"]) == (200, "new")
    assert reply.body["certificate"]["certferry"]["digest"] == made["certferry"]["digest"]


def test_the_key_is_echoed_if_the_setting_says_so(tmp_path: Any) -> None:
    pair = authority().issue("a.example")
    with serving(settings_in(tmp_path, private_key_echo=True)) as elb:
        assert elb.admin.make("certificate", **content(pair))["private_key"] == pair.key


def test_an_unusable_certificate_is_rejected_with_a_sentence(api: Api) -> None:
    pair, other = authority().issue("a.example"), authority().issue("b.example")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"certificate": pair.certificate, "private_key": other.key}, "ELB.1011", "does not belong"),
        ({"certificate": "garbage", "private_key": pair.key}, "ELB.1011", "not PEM"),
        ({"certificate": pair.certificate, "private_key": "garbage"}, "ELB.1011", "not PEM"),
        ({"certificate": "", "private_key": pair.key}, "ELB.1011", "empty"),
        ({"certificate": pair.certificate}, "ELB.8902", "private_key"),
        ({"private_key": pair.key}, "ELB.8902", "certificate"),
        ({"certificate": 5, "private_key": pair.key}, "ELB.8902", "str"),
        ({**content(pair), "domain": "a_b.example"}, "ELB.8902", "host name"),
        ({**content(pair), "domain": "a.*.example"}, "ELB.8902", "host name"),
        ({**content(pair), "name": "n" * 256}, "ELB.8902", "255"),
        ({**content(pair), "type": "server_sm"}, "ELB.8902", "type"),
    ]
    for fields, code, words in cases:
        reply = api("POST", "/certificates", {"certificate": fields})
        assert (reply.status, reply.code) == (400, code), reply.body
        assert words in reply.sentence


def test_an_expired_certificate_is_accepted(api: Api) -> None:
    pair = authority().issue("old.example", days=-2, started=30)
    assert api.make("certificate", **content(pair))["expire_time"] < "2999"


def test_certificate_and_key_must_match(api: Api) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, again = authority().issue("a.example", key=key), authority().issue("a.example", key=key)
    made = api.make("certificate", **content(first))
    path = f"/certificates/{made['id']}"
    stranger = authority().issue("a.example")
    refused = api("PUT", path, {"certificate": {"certificate": stranger.certificate}})
    assert (refused.status, refused.code) == (400, "ELB.1011")
    assert "together" in refused.sentence
    assert api("PUT", path, {"certificate": {"private_key": stranger.key}}).status == 400
    accepted = api("PUT", path, {"certificate": {"certificate": again.certificate}})
    assert accepted.body["certificate"]["certificate"] == again.certificate


def test_the_same_content_again_changes_nothing(own: Elb) -> None:
    pair = authority().issue("a.example")
    made = own.admin.make("certificate", **content(pair))
    for _ in range(3):
        reply = own.admin("PUT", f"/certificates/{made['id']}", {"certificate": content(pair)})
        assert reply.body["certificate"] == made
    with stored(own.settings) as (store, _):
        row = store.snapshot.get("certificate", made["id"])
        assert row is not None
        assert row.content is not None
        assert (row.revision, row.content.version) == (1, 1)


def test_a_client_ca_has_no_key(api: Api) -> None:
    made = api.make("certificate", type="client", certificate=authority().certificate)
    assert made["private_key"] is None
    path = f"/certificates/{made['id']}"
    assert api("PUT", path, {"certificate": {"private_key": authority().issue("a").key}}).status == 400
    assert api("PUT", path, {"certificate": {"type": "server"}}).code == "ELB.8902"


def test_a_certificate_in_use_cannot_be_deleted(api: Api) -> None:
    default = api.make("certificate", **content(authority().issue("a.example")))
    sni = api.make("certificate", domain="b.example", **content(authority().issue("b.example")))
    listener = bound(api, default, sni)
    for used in (default, sni):
        reply = api("DELETE", f"/certificates/{used['id']}")
        assert (reply.status, reply.code) == (409, "ELB.8907")
        assert listener["id"] in reply.sentence
    assert api("DELETE", f"/listeners/{listener['id']}").status == 204
    assert api("DELETE", f"/certificates/{sni['id']}").status == 204


def test_the_domain_of_an_sni_certificate_cannot_be_emptied(api: Api) -> None:
    default = api.make("certificate", **content(authority().issue("a.example")))
    sni = api.make("certificate", domain="b.example", **content(authority().issue("b.example")))
    bound(api, default, sni)
    for empty in ("", None):
        reply = api("PUT", f"/certificates/{sni['id']}", {"certificate": {"domain": empty}})
        assert (reply.status, reply.code) == (409, "ELB.8907")
    assert api.show("certificate", sni["id"])["domain"] == "b.example"


def test_a_domain_belongs_to_one_sni_certificate_of_a_listener(api: Api) -> None:
    default = api.make("certificate", **content(authority().issue("a.example")))
    first = api.make("certificate", domain="b.example", **content(authority().issue("b.example")))
    second = api.make("certificate", domain="c.example", **content(authority().issue("b.example")))
    listener = bound(api, default, first, second)
    reply = api("PUT", f"/certificates/{second['id']}", {"certificate": {"domain": "c.example,b.example"}})
    assert (reply.status, reply.code) == (409, "ELB.8907")
    assert "b.example" in reply.sentence
    rsa = api.make("certificate", domain="b.example", **content(authority().issue("b.example", key=rsa_key())))
    pair = {"sni_container_refs": [first["id"], rsa["id"]]}
    assert api("PUT", f"/listeners/{listener['id']}", {"listener": pair}).status == 200, "RSA beside EC"
    ec_again = {"certificate": content(authority().issue("b.example"))}
    assert api("PUT", f"/certificates/{rsa['id']}", ec_again).status == 409, "and no two of a kind"


def test_an_unservable_key_is_stored_and_not_bound(api: Api) -> None:
    weak = authority().issue("weak.example", key=rsa_key(1024))
    odd = authority().issue("odd.example", key=ec.generate_private_key(ec.SECP256K1()))
    good = api.make("certificate", **content(authority().issue("a.example")))
    listener = bound(api, good)
    for pair in (weak, odd):
        made = api.make("certificate", **content(pair))
        binding = {"listener": {"default_tls_container_ref": made["id"]}}
        reply = api("PUT", f"/listeners/{listener['id']}", binding)
        assert (reply.status, reply.code) == (400, "ELB.1011")
        replaced = api("PUT", f"/certificates/{good['id']}", {"certificate": content(pair)})
        assert replaced.status == 400
    assert api.show("listener", listener["id"])["default_tls_container_ref"] == good["id"]


def test_a_used_up_quota_is_a_conflict(tmp_path: Any) -> None:
    with serving(settings_in(tmp_path, limits=ElbLimits(certificate=1))) as elb:
        elb.admin.make("certificate", **content(authority().issue("a.example")))
        body = {"certificate": content(authority().issue("b.example"))}
        reply = elb.admin("POST", "/certificates", body)
        assert (reply.status, reply.code) == (409, "ELB.8905")
