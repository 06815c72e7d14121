from __future__ import annotations

import pytest

from tests.elb.support.server import Api, Elb, another
from tests.support.certs import authority


@pytest.fixture
def seven(api: Api) -> tuple[str, list[str]]:
    """The path of a pool's seven members, and their ids in the order of creation."""
    pool = api.make("pool", type="ip", protocol="HTTP", lb_algorithm="ROUND_ROBIN")["id"]
    path = f"/pools/{pool}/members"
    made = [api.make("member", path, address=f"127.0.0.{n}", protocol_port=1, weight=n % 2)["id"] for n in range(1, 8)]
    return path, made


def test_paging_by_next_marker_ends(api: Api, seven: tuple[str, list[str]]) -> None:
    (path, ids), seen, query = seven, list[str](), "limit=3"
    while True:
        body = api("GET", path, query=query).body
        seen += [one["id"] for one in body["members"]]
        info = body["page_info"]
        assert info["current_count"] == len(body["members"])
        assert info["previous_marker"] == body["members"][0]["id"]
        if "next_marker" not in info:
            break
        query = f"limit=3&marker={info['next_marker']}"
    assert seen == ids


def test_paging_by_last_id_ends_with_an_empty_page(api: Api, seven: tuple[str, list[str]]) -> None:
    (path, ids), seen, query = seven, list[str](), "limit=7"
    while page := api("GET", path, query=query).body["members"]:
        seen += [one["id"] for one in page]
        query = f"limit=7&marker={page[-1]['id']}"
    assert seen == ids


def test_without_limit_all_objects_are_listed(api: Api, seven: tuple[str, list[str]]) -> None:
    body = api("GET", seven[0]).body
    assert [one["id"] for one in body["members"]] == seven[1]
    assert "next_marker" not in body["page_info"]


def test_paging_backwards(api: Api, seven: tuple[str, list[str]]) -> None:
    path, ids = seven
    body = api("GET", path, query=f"limit=2&marker={ids[4]}&page_reverse=true").body
    assert [one["id"] for one in body["members"]] == ids[2:4]


def test_filters_are_ored_within_a_key_and_anded_between_keys(api: Api, seven: tuple[str, list[str]]) -> None:
    path, ids = seven

    def found(query: str) -> list[str]:
        return [one["id"] for one in api("GET", path, query=query).body["members"]]

    assert found(f"id={ids[1]}&id={ids[5]}") == [ids[1], ids[5]]
    assert found(f"id={ids[1]}&id={ids[2]}&weight=0") == [ids[1]]
    assert found("admin_state_up=true&weight=0") == ids[1::2]
    assert found("address=127.0.0.9") == []
    assert found("some_future_filter=x") == ids


def test_lists_are_filtered_by_references(api: Api) -> None:
    lbs = [api.make("loadbalancer")["id"] for _ in range(2)]
    listeners = [api.make("listener", loadbalancer_id=lb, protocol="HTTP", protocol_port=80)["id"] for lb in lbs]
    body = api("GET", "/listeners", query=f"loadbalancer_id={lbs[1]}").body
    assert [one["id"] for one in body["listeners"]] == [listeners[1]]


@pytest.mark.parametrize("query", ["limit=2001", "limit=-1", "limit=x", "marker=nobody", "page_reverse=2"])
def test_invalid_paging_is_rejected(api: Api, query: str) -> None:
    assert api("GET", "/certificates", query=query).code == "ELB.8902"


def test_certificates_are_filtered_by_name_and_fingerprint(api: Api) -> None:
    pair = authority().issue("find.example")
    made = api.make("certificate", name="find me", certificate=pair.certificate, private_key=pair.key)
    for query in ("name=find%20me", f"fingerprint={made['fingerprint']}", f"id={made['id']}"):
        found = api("GET", "/certificates", query=query).body["certificates"]
        assert [one["id"] for one in found] == [made["id"]]
    assert api("GET", "/certificates/find%20me").status == 404, "as openstacksdk asks first"


def test_policies_flavors_zones_and_quotas_are_listed(api: Api) -> None:
    policies = api("GET", "/system-security-policies").body["system_security_policies"]
    by_name = {one["name"]: one for one in policies}
    assert by_name["tls-1-2-fs-with-1-3"]["protocols"] == "TLSv1.2 TLSv1.3"
    assert "ECDHE-RSA-AES128-GCM-SHA256" in by_name["tls-1-2"]["ciphers"].split(":")
    flavors = api("GET", "/flavors", query="type=L7&limit=2").body["flavors"]
    assert [one["type"] for one in flavors] == ["L7", "L7"]
    assert api("GET", f"/flavors/{flavors[0]['id']}").body["flavor"] == flavors[0]
    assert api("GET", "/availability-zones").body["availability_zones"][0][0]["state"] == "ACTIVE"
    quota = api("GET", "/quotas").body["quota"]
    assert quota["certificate"] == -1
    assert {"l7policies_per_listener", "sni_certificates", "sni_names"} <= quota.keys()
    details = {one["quota_key"]: one for one in api("GET", "/quotas/details").body["quotas"]}
    assert details["pool"]["used"] == len(api("GET", "/pools").body["pools"])


def test_a_reader_reads(elb: Elb) -> None:
    reader = another(elb, "reader", "reader")
    assert reader("GET", "/certificates").status == 200
    refused = reader("POST", "/loadbalancers", {"loadbalancer": {}})
    assert (refused.status, refused.code) == (403, "SYS.0403")
